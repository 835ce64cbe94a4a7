//! Instruction sets: detection at run time, and a macro that compiles one loop for each of them.

use std::sync::OnceLock;

/// An instruction set the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every processor of the target has: SSE2 on x86-64, NEON on aarch64.
    Baseline,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, VL, BW and DQ.
    Avx512,
}

/// An `ONTOGENY_ISA` that cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable ONTOGENY_ISA is `{found}`; this processor has {}: choose one of them, or unset it", .available.join(", "))]
pub struct IsaError {
    found: String,
    available: Vec<&'static str>,
}

impl Isa {
    /// The widest set of this processor, or the one that [`Self::forced`] names. What cannot be obeyed is ignored here:
    /// a program asks `forced` when it starts, and says so.
    pub fn current() -> Self {
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let widest = || Self::available().into_iter().max().unwrap_or(Self::Baseline);
            Self::forced().ok().flatten().unwrap_or_else(widest)
        })
    }

    /// The set named by the environment variable `ONTOGENY_ISA`, if it is set.
    ///
    /// # Errors
    /// A name that is none, or of a set that this processor does not have.
    pub fn forced() -> Result<Option<Self>, IsaError> {
        let Some(name) = std::env::var_os("ONTOGENY_ISA") else { return Ok(None) };
        let available = Self::available();
        let forced = available.iter().copied().find(|isa| *name == *isa.name());
        forced.map(Some).ok_or_else(|| IsaError {
            found: name.to_string_lossy().into_owned(),
            available: available.into_iter().map(Self::name).collect(),
        })
    }

    /// All sets of this processor, narrowest first.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let has_avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq");
            let wider = [(Self::Avx2, has_avx2), (Self::Avx512, has_avx2 && has_avx512)];
            let wider = wider.into_iter().filter(|(_, has)| *has).map(|(isa, _)| isa);
            [Self::Baseline].into_iter().chain(wider).collect()
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            vec![Self::Baseline]
        }
    }

    /// Its name in run manifests and in `ONTOGENY_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            // The same for every processor of a target, but not for all targets: a manifest says which.
            Self::Baseline if cfg!(target_arch = "aarch64") => "neon",
            Self::Baseline => "baseline",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// Defines `fn name(isa, args…)` whose body is compiled once for each instruction set. No copy contracts `a*b + c`, so
/// all give the same bits unless the body says otherwise.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "a kernel takes its operands one by one")]
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn body($($arg: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,bmi2")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                body($($arg),*)
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "calls a function compiled for more features than the target")]
                // SAFETY: this variant only comes from `Isa::available`, which has seen these features.
                $crate::isa::Isa::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "calls a function compiled for more features than the target")]
                // SAFETY: as above.
                $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => body($($arg),*),
            }
        }
    };
}
pub(crate) use multiversion;
