//! Seeds that nobody can know before a study is registered.
//!
//! They follow from the hash of the registration's line, which covers the study's files, the time and all that was said before: who
//! wants other seeds must register again, and that stays in the chain.

use std::collections::BTreeSet;

/// Confirmatory seeds are this or larger; pilot runs have smaller ones.
pub const FIRST_CONFIRMATORY_SEED: u32 = 65_536;

/// Seed `index` of a registration, by the hash of its line; from 65,536 on.
///
/// BLAKE3 of the text `ontogeny study seed`, line break, hash, line break, index in decimal; of that the first eight bytes, little end
/// first, modulo 2³² − 65,536; plus 65,536. Two indices may have the same seed: see [`confirmatory_seeds`].
pub fn confirmatory_seed(registration: &str, index: u32) -> u32 {
    let digest = blake3::hash(format!("ontogeny study seed\n{registration}\n{index}").as_bytes());
    let first = digest.as_bytes().first_chunk().expect("a hash has 32 bytes");
    let n_seeds = (1 << 32) - u64::from(FIRST_CONFIRMATORY_SEED);
    FIRST_CONFIRMATORY_SEED + (u64::from_le_bytes(*first) % n_seeds) as u32
}

/// The first `n` seeds of a registration in the order of their indices, all different: a seed that has been there is passed over.
pub fn confirmatory_seeds(registration: &str, n: usize) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    (0..=u32::MAX)
        .map(|index| confirmatory_seed(registration, index))
        .filter(|seed| seen.insert(*seed))
        .take(n)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_large_different_and_of_the_registration() {
        let hash = "ab".repeat(32);
        let seeds = confirmatory_seeds(&hash, 10_000);
        assert_eq!(seeds.len(), 10_000);
        assert_eq!(seeds[0], 1_560_421_700, "computed in Python, by the documentation");
        assert_eq!(seeds.iter().collect::<BTreeSet<_>>().len(), 10_000);
        assert!(seeds.iter().all(|seed| *seed >= FIRST_CONFIRMATORY_SEED));
        assert_eq!(seeds[..3], [0, 1, 2].map(|index| confirmatory_seed(&hash, index)));
        assert_eq!(confirmatory_seeds(&hash, 3), seeds[..3]);
        let others = confirmatory_seeds(&"ac".repeat(32), 10_000);
        assert!(others.iter().filter(|seed| seeds.contains(seed)).count() < 10, "10,000²/2³² = 0.02 expected");
        // Uniform: 10,000 draws over 16 classes, χ² with 15 degrees of freedom stays below 45 (p = 8e-5).
        let mut counts = [0_f64; 16];
        for seed in &seeds {
            counts[(seed >> 28) as usize] += 1.0;
        }
        let chi2: f64 = counts.iter().map(|n| (n - 625.0).powi(2) / 625.0).sum();
        assert!(chi2 < 45.0, "{chi2}");
    }

    #[test]
    fn a_repeat_is_passed_over() {
        // 100,000 seeds of 2³² have 1.2 repeats on average: some registration of the first few has one.
        let repeated = (0..20).any(|i| {
            let hash = format!("{i:064x}");
            let n = 100_000;
            let by_index: Vec<u32> = (0..n).map(|index| confirmatory_seed(&hash, index)).collect();
            let unique: BTreeSet<u32> = by_index.iter().copied().collect();
            let found = confirmatory_seeds(&hash, n as usize);
            assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), n as usize);
            unique.len() < n as usize && found != by_index
        });
        assert!(repeated, "no repeat was tried");
    }
}
