//! Vector registers of the instruction sets, as the tiles of products use them.

/// One vector register.
#[expect(unsafe_code, reason = "raw loads and stores")]
pub(super) trait Vector: Copy {
    const LANES: usize;
    fn zero() -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn splat(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The first `n` lanes, the others zero.
    unsafe fn load_first(from: *const f32, n: usize) -> Self;
    /// Only the first `n` lanes.
    unsafe fn store_first(self, to: *mut f32, n: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// 0 where negative; NaN stays NaN.
    unsafe fn relu(self) -> Self;
    /// 1 where positive, else 0.
    unsafe fn step(self) -> Self;
    /// self · b + c.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
}

/// Four lanes of whatever the target has: SSE2 on x86-64, NEON on AArch64.
#[derive(Clone, Copy)]
pub(super) struct Lanes4([f32; 4]);

#[expect(unsafe_code, reason = "raw loads and stores")]
impl Vector for Lanes4 {
    const LANES: usize = 4;
    #[inline(always)]
    fn zero() -> Self {
        Self([0.0; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self([unsafe { *from }; 4])
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        let mut lanes = [0.0; 4];
        // SAFETY: the caller's promise.
        (0..n.min(4)).for_each(|i| lanes[i] = unsafe { *from.add(i) });
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: the caller's promise.
        (0..n.min(4)).for_each(|i| unsafe { *to.add(i) = self.0[i] });
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * other.0[i]))
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        Self(self.0.map(|x| if x < 0.0 { 0.0 } else { x }))
    }
    #[inline(always)]
    unsafe fn step(self) -> Self {
        Self(self.0.map(|x| if x > 0.0 { 1.0 } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // A fused multiply-add is one instruction on AArch64 and a function call on baseline x86-64.
        if cfg!(target_arch = "aarch64") {
            Self(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
        } else {
            Self(std::array::from_fn(|i| self.0[i] * b.0[i] + c.0[i]))
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "intrinsics of instruction sets found at run time")]
pub(super) mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m256, __m512, _CMP_GT_OQ, _mm256_add_ps, _mm256_and_ps, _mm256_broadcast_ss, _mm256_cmp_ps, _mm256_fmadd_ps,
        _mm256_loadu_ps, _mm256_mask_storeu_ps, _mm256_maskz_loadu_ps, _mm256_max_ps, _mm256_mul_ps, _mm256_set1_ps,
        _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_castps512_ps256, _mm512_cmp_ps_mask,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_maskz_mov_ps,
        _mm512_max_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::Vector;

    macro_rules! vector {
        ($name:ident, $register:ty, $lanes:literal, $load:ident, $store:ident, $add:ident, $mul:ident, $fmadd:ident, $splat:expr, $relu:expr, $step:expr, $load_first:expr, $store_first:expr) => {
            #[derive(Clone, Copy)]
            pub(in crate::kernels) struct $name($register);

            // SAFETY (all): called from functions compiled for the instruction set, on memory their callers vouch for.
            impl Vector for $name {
                const LANES: usize = $lanes;
                #[inline(always)]
                fn zero() -> Self {
                    // SAFETY: all-zero bits are zeros.
                    Self(unsafe { std::mem::zeroed() })
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $load(from) })
                }
                #[inline(always)]
                unsafe fn splat(from: *const f32) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $splat(from) })
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: see above.
                    unsafe { $store(to, self.0) }
                }
                #[inline(always)]
                unsafe fn load_first(from: *const f32, n: usize) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $load_first(from, n) })
                }
                #[inline(always)]
                unsafe fn store_first(self, to: *mut f32, n: usize) {
                    // SAFETY: see above.
                    unsafe { $store_first(to, self.0, n) }
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $add(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn mul(self, other: Self) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $mul(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn relu(self) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $relu(self.0) })
                }
                #[inline(always)]
                unsafe fn step(self) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $step(self.0) })
                }
                #[inline(always)]
                unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $fmadd(self.0, b.0, c.0) })
                }
            }
        };
    }
    // The maximum of two registers is the second where either is NaN.
    vector!(
        Zmm,
        __m512,
        16,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_mul_ps,
        _mm512_fmadd_ps,
        |from: *const f32| _mm512_set1_ps(*from),
        |x| _mm512_max_ps(_mm512_setzero_ps(), x),
        |x| _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps()), _mm512_set1_ps(1.0)),
        |from, n| _mm512_maskz_loadu_ps(first(n), from),
        |to, x, n| _mm512_mask_storeu_ps(to, first(n), x)
    );
    vector!(
        Ymm,
        __m256,
        8,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_mul_ps,
        _mm256_fmadd_ps,
        |from: *const f32| _mm256_broadcast_ss(&*from),
        |x| _mm256_max_ps(_mm256_setzero_ps(), x),
        |x| _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps()), _mm256_set1_ps(1.0)),
        |from: *const f32, n: usize| {
            let mut lanes = [0.0_f32; 8];
            (0..n.min(8)).for_each(|i| lanes[i] = *from.add(i));
            _mm256_loadu_ps(lanes.as_ptr())
        },
        |to: *mut f32, x, n: usize| {
            let mut lanes = [0.0_f32; 8];
            _mm256_storeu_ps(lanes.as_mut_ptr(), x);
            (0..n.min(8)).for_each(|i| *to.add(i) = lanes[i]);
        }
    );

    /// A mask of the first `n` of 16 lanes.
    #[inline(always)]
    fn first(n: usize) -> u16 {
        if n >= 16 { u16::MAX } else { (1 << n) - 1 }
    }

    /// A mask of the lanes from the 16th to the n-th.
    #[inline(always)]
    fn beyond(n: usize) -> u8 {
        let n = n.saturating_sub(16);
        if n >= 8 { u8::MAX } else { (1 << n) - 1 }
    }

    /// Sixteen times an entry. Written out: where its lower half is used too, the compiler reads the entry into that and
    /// then shuffles it into the whole, on units that the multiply-adds need.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2")]
    unsafe fn splat(from: *const f32) -> __m512 {
        let all;
        // SAFETY: an ordinary read of what the caller vouches for.
        unsafe {
            asm!(
                "vbroadcastss {}, dword ptr [{}]", out(zmm_reg) all, in(reg) from,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        all
    }

    /// A vector and a half of AVX-512: where registers are computed in halves, three quarters of the time of two.
    #[derive(Clone, Copy)]
    pub(in crate::kernels) struct ZmmYmm(Zmm, Ymm);

    // SAFETY (all): as for its two parts; the masked half needs AVX-512 VL, which the caller is compiled for.
    impl Vector for ZmmYmm {
        const LANES: usize = 24;
        #[inline(always)]
        fn zero() -> Self {
            Self(Zmm::zero(), Ymm::zero())
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            unsafe { Self(Zmm::load(from), Ymm::load(from.add(16))) }
        }
        #[inline(always)]
        unsafe fn splat(from: *const f32) -> Self {
            // SAFETY: see above.
            unsafe {
                let all = splat(from);
                Self(Zmm(all), Ymm(_mm512_castps512_ps256(all)))
            }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see above.
            unsafe {
                self.0.store(to);
                self.1.store(to.add(16));
            }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, n: usize) -> Self {
            // SAFETY: see above.
            unsafe { Self(Zmm::load_first(from, n), Ymm(_mm256_maskz_loadu_ps(beyond(n), from.wrapping_add(16)))) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, n: usize) {
            // SAFETY: see above.
            unsafe {
                self.0.store_first(to, n);
                _mm256_mask_storeu_ps(to.wrapping_add(16), beyond(n), self.1.0);
            }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { Self(self.0.add(other.0), self.1.add(other.1)) }
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { Self(self.0.mul(other.0), self.1.mul(other.1)) }
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            // SAFETY: see above.
            unsafe { Self(self.0.relu(), self.1.relu()) }
        }
        #[inline(always)]
        unsafe fn step(self) -> Self {
            // SAFETY: see above.
            unsafe { Self(self.0.step(), self.1.step()) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: see above.
            unsafe { Self(self.0.mul_add(b.0, c.0), self.1.mul_add(b.1, c.1)) }
        }
    }
}
