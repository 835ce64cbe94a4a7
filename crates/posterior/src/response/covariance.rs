//! Covariance of the weights over the posterior: entries, leading directions, and what two parts share.

use std::num::NonZero;
use std::ops::Range;

use ontogeny_graph::{Purpose, Stream, top_eigenpairs};

use super::series::{centred, mean_of};
use super::weight_draws::WeightDraws;
use super::{Judged, ResponseError, check_memory};
use crate::execution::in_parallel;
use crate::restriction::Restriction;

/// The covariance of the free weights over the posterior, from draws that are centred by the mean of their own chain.
///
/// For a quadratic loss it is (nβH + γ)⁻¹. It is never formed: of N draws in d coordinates all of it lies in the N·d
/// deviations. Leading eigenpairs are those of the sample covariance exactly, by way of the smaller of the d×d matrix and
/// the N×N Gram matrix of the draws. As for any sample, the largest eigenvalue is too large by about d over the number of
/// effective draws, relative to eigenvalues of its own size: the error of a [`Direction`] speaks of the variance along its
/// vector, not of the choice of the vector.
#[derive(Debug, Clone)]
pub struct Covariance<'a> {
    draws: &'a WeightDraws,
    /// `[chain]`, (draw, coordinate) row-major.
    centred: Vec<Vec<f32>>,
    max_bytes: usize,
}

/// A direction in weight space, or a pair of directions of two parts, with the (co)variance along it.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// Variance along the vector, or covariance along the two; in squared units of the weights.
    pub value: f64,
    /// Its Monte Carlo error, the direction taken as given.
    pub mcse: f64,
    /// Share of the part's total variance; of two parts, of the root of the product of both.
    pub share: f64,
    /// Of length one, over the coordinates of the part in flat order; for two parts one after the other, each of length one.
    pub vectors: Vec<Vec<f32>>,
    /// Distance ‖A·v − value·v‖ at which the eigenvalue search stopped, relative to the largest value.
    pub residual: f64,
}

/// Products with the matrix that the search for eigenvalues may make.
const MAX_PRODUCTS: usize = 400;
/// Residual, relative to the largest value, at which it stops: what f32 vectors carry.
const TOLERANCE: f64 = 1e-6;

impl<'a> Covariance<'a> {
    /// Centres the draws. What this takes besides the draws themselves, at most `max_bytes`: as much again, once more
    /// for the part that is looked at, and a square matrix.
    ///
    /// # Errors
    /// More memory than that.
    pub fn of(draws: &'a WeightDraws, max_bytes: usize) -> Result<Judged<Self>, ResponseError> {
        if let Some(refusal) = draws.refusal() {
            return Ok(Judged::Refused(refusal));
        }
        let (n_draws, d) = (draws.n_draws(), draws.selection().n_free());
        let all = draws.n_chains() * n_draws;
        let side = all.min(d) as u128;
        let needed =
            2 * (all as u128) * (d as u128) * size_of::<f32>() as u128 + side * side * size_of::<f64>() as u128;
        let what = || format!("{all} draws of {d} weights, twice, and a matrix of {side}²");
        check_memory(what, needed, max_bytes, "restrict the chains to a part of the network, or take fewer draws")?;
        let centre = |chain: usize| {
            let rows = draws.chain(chain);
            let mut mean = vec![0.0_f64; d];
            for row in rows.chunks_exact(d) {
                mean.iter_mut().zip(row).for_each(|(m, &w)| *m += f64::from(w) / n_draws as f64);
            }
            rows.chunks_exact(d)
                .flat_map(|row| row.iter().zip(&mean).map(|(&w, m)| (f64::from(w) - m) as f32))
                .collect()
        };
        let centred = (0..draws.n_chains()).map(centre).collect();
        Ok(Judged::Ok(Self { draws, centred, max_bytes }))
    }

    /// Covariance of two free coordinates (numbered as in [`WeightDraws::selection`]) with its Monte Carlo error.
    pub fn entry(&self, i: usize, j: usize) -> (f64, f64) {
        let column = |k: usize| self.along(|row| f64::from(row[k]));
        let (a, b) = (column(i), column(j));
        covariance(&a, &b)
    }

    /// The `n` directions of a part of the network in which the weights vary most, first the largest.
    ///
    /// # Errors
    /// A part unknown to the network, or one of which nothing moved.
    pub fn leading(
        &self,
        part: &Restriction,
        n: usize,
        threads: NonZero<usize>,
    ) -> Result<Vec<Direction>, ResponseError> {
        let places = self.draws.places(part)?;
        let x = self.rows(&places);
        let (n_rows, d) = (x.len(), x[0].len());
        let scale = 1.0 / self.degrees_of_freedom();
        let is_gram = n_rows < d;
        let matrix: Vec<Vec<f64>> = if is_gram {
            in_parallel(n_rows, threads, |s| (0..=s).map(|t| scale * dot(&x[s], &x[t])).collect())
        } else {
            let columns: Vec<Vec<f32>> = (0..d).map(|k| x.iter().map(|row| row[k]).collect()).collect();
            in_parallel(d, threads, |i| (0..=i).map(|j| scale * dot(&columns[i], &columns[j])).collect())
        };
        let total: f64 = matrix.iter().enumerate().map(|(i, row)| row[i]).sum();
        let pairs = eigenpairs(matrix.len(), n, |v, out| multiply_lower(&matrix, v, out));
        let directions = pairs.into_iter().filter(|pair| pair.value > 0.0).map(|pair| {
            let vector = if is_gram { unit(&transposed(&x, &pair.vector)) } else { pair.vector };
            let scores = self.scores(&places, &vector);
            let (value, mcse) = covariance(&scores, &scores);
            Direction { value, mcse, share: pair.value / total, vectors: vec![vector], residual: pair.residual }
        });
        Ok(directions.collect())
    }

    /// The `n` pairs of directions, one of each part, whose covariance is largest: the leading singular triplets of the
    /// block of the covariance between the two parts. For parts that have nothing to do with each other the values are
    /// those of chance; their errors tell.
    ///
    /// # Errors
    /// A part unknown to the network, or one of which nothing moved.
    pub fn between(&self, parts: [&Restriction; 2], n: usize) -> Result<Vec<Direction>, ResponseError> {
        let places = [self.draws.places(parts[0])?, self.draws.places(parts[1])?];
        let [a, b] = [self.rows(&places[0]), self.rows(&places[1])];
        let (d_a, d_b) = (a[0].len(), b[0].len());
        let needed = (MAX_PRODUCTS.min(d_a + d_b) as u128) * ((d_a + d_b) as u128) * size_of::<f32>() as u128;
        let what = || format!("the search for singular vectors of {} coordinates", d_a + d_b);
        check_memory(what, needed, self.max_bytes, "ask for smaller parts")?;
        let scale = 1.0 / self.degrees_of_freedom();
        // [0 C; Cᵀ 0] has the eigenvalues ±σ with the vectors (u, ±v)/√2.
        let pairs = eigenpairs(d_a + d_b, n, |v, out| {
            let (left, right) = out.split_at_mut(d_a);
            let scores =
                |x: &[Vec<f32>], v: &[f32]| x.iter().map(|row| (scale * dot(row, v)) as f32).collect::<Vec<_>>();
            left.copy_from_slice(&narrow(&transposed(&a, &scores(&b, &v[d_a..]))));
            right.copy_from_slice(&narrow(&transposed(&b, &scores(&a, &v[..d_a]))));
        });
        let total = |x: &[Vec<f32>]| x.iter().map(|row| scale * dot(row, row)).sum::<f64>();
        let whole = (total(&a) * total(&b)).sqrt();
        let directions = pairs.into_iter().filter(|pair| pair.value > 0.0).map(|pair| {
            let wide: Vec<f64> = pair.vector.iter().map(|&x| f64::from(x)).collect();
            let vectors = vec![unit(&wide[..d_a]), unit(&wide[d_a..])];
            let scores = [0, 1].map(|side| self.scores(&places[side], &vectors[side]));
            let (value, mcse) = covariance(&scores[0], &scores[1]);
            Direction { value, mcse, share: pair.value / whole, vectors, residual: pair.residual }
        });
        Ok(directions.collect())
    }

    fn degrees_of_freedom(&self) -> f64 {
        (self.centred.len() * (self.draws.n_draws() - 1)) as f64
    }

    /// The coordinates of a part at every draw of every chain.
    fn rows(&self, places: &[Range<usize>]) -> Vec<Vec<f32>> {
        let d = self.draws.selection().n_free();
        let all = self.centred.iter().flat_map(|chain| chain.chunks_exact(d));
        all.map(|row| places.iter().flat_map(|place| &row[place.clone()]).copied().collect()).collect()
    }

    /// A number at every draw, `[chain][draw]`.
    fn along(&self, number: impl Fn(&[f32]) -> f64) -> Vec<Vec<f64>> {
        let d = self.draws.selection().n_free();
        self.centred.iter().map(|chain| chain.chunks_exact(d).map(&number).collect()).collect()
    }

    fn scores(&self, places: &[Range<usize>], vector: &[f32]) -> Vec<Vec<f64>> {
        self.along(|row| {
            let mut at = 0;
            let mut sum = 0.0;
            for place in places {
                sum += dot(&row[place.clone()], &vector[at..at + place.len()]);
                at += place.len();
            }
            sum
        })
    }
}

/// Covariance within chains of two series and its error; what centring took is given back as for influence.
fn covariance(a: &[Vec<f64>], b: &[Vec<f64>]) -> (f64, f64) {
    let ((a, share_a), (b, share_b)) = (centred(a), centred(b));
    let left = 1.0 - ((1.0 - share_a) * (1.0 - share_b)).sqrt();
    let products: Vec<Vec<f64>> =
        a.iter().zip(&b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b / left).collect()).collect();
    let mean = mean_of(&products);
    (mean.mean, mean.mcse)
}

struct Found {
    value: f64,
    vector: Vec<f32>,
    residual: f64,
}

/// Leading eigenpairs of a symmetric matrix of order `side`, from a start that is the same every time.
pub(super) fn leading_values(side: usize, n: usize, apply: impl FnMut(&[f32], &mut [f32])) -> Vec<f64> {
    eigenpairs(side, n, apply).into_iter().map(|pair| pair.value).collect()
}

fn eigenpairs(side: usize, n: usize, mut apply: impl FnMut(&[f32], &mut [f32])) -> Vec<Found> {
    let mut start = vec![0.0; side];
    Stream::new(0, Purpose::Probe, 0).normals(0, 0, &mut start);
    let product = |v: &[f32], out: &mut [f32]| {
        apply(v, out);
        Ok::<(), std::convert::Infallible>(())
    };
    let n = n.min(side);
    if n == 0 {
        return Vec::new();
    }
    let pairs = top_eigenpairs(&start, n, MAX_PRODUCTS.min(side), TOLERANCE, product);
    let pairs = pairs.expect("the start is random, and products of finite draws are finite");
    let largest = pairs.iter().fold(f64::MIN_POSITIVE, |a, pair| a.max(pair.value.abs()));
    pairs
        .into_iter()
        .map(|pair| Found { value: pair.value, vector: pair.vector, residual: pair.residual / largest })
        .collect()
}

/// The product of a symmetric matrix, given by its lower rows, with a vector.
pub(super) fn multiply_lower(rows: &[Vec<f64>], v: &[f32], out: &mut [f32]) {
    let mut sums = vec![0.0_f64; rows.len()];
    for (i, row) in rows.iter().enumerate() {
        let own = f64::from(v[i]);
        let mut sum = 0.0;
        for (j, &entry) in row[..i].iter().enumerate() {
            sum += entry * f64::from(v[j]);
            sums[j] += entry * own;
        }
        sums[i] += sum + row[i] * own;
    }
    out.copy_from_slice(&narrow(&sums));
}

/// Xᵀ·v.
fn transposed(rows: &[Vec<f32>], v: &[f32]) -> Vec<f64> {
    let mut sums = vec![0.0_f64; rows[0].len()];
    for (row, &factor) in rows.iter().zip(v) {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(factor) * f64::from(x));
    }
    sums
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

fn unit(vector: &[f64]) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    vector.iter().map(|x| (x / length) as f32).collect()
}

/// In f64, over eight lanes so that the compiler can use vectors.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; 8];
    let (blocks_a, blocks_b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = blocks_a.remainder().iter().zip(blocks_b.remainder());
    let rest: f64 = rest.map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    for (x, y) in blocks_a.zip(blocks_b) {
        for lane in 0..8 {
            lanes[lane] += f64::from(x[lane]) * f64::from(y[lane]);
        }
    }
    lanes.iter().sum::<f64>() + rest
}
