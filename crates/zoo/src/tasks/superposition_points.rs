//! The toy model of superposition with one feature at a time, in closed form: its loss over all inputs, and the k-gons
//! where that is stationary (Chen et al. 2023).

use std::f64::consts::TAU;

use ontogeny_graph::{Graph, Node};

/// Adds L = E‖x − ReLU(WᵀWx + b)‖², a scalar, for x = a·eᵢ with i uniform over c features and a uniform on [0, 1]; `w`
/// is W `[hidden, c]`, `b` is `[c]`. Its derivatives are exact as well, since they are taken of the integral.
///
/// Output j sees the ramp pa + q with p = Wᵢ·Wⱼ and q = bⱼ, positive on the share σ of [0, 1]. Let s = relu(q), at a = 0, and
/// e = relu(p + q), at a = 1. Over the positive share the ramp runs straight from s to e (one of them 0 where σ < 1), so
/// ∫ relu² = σ(s² + se + e²)/3. The share ends at a = 1 where e > 0, else it begins at a = 0, so ∫ a·relu = σ(e(3 − σ) + sσ)/6:
/// of a line from 0 to e over the last σ, eσ/2 − eσ²/6; of one from s to 0 over the first σ, sσ²/6; of one over all, both.
/// An output for another input than its own has the error ∫ relu²; its own ⅓ − 2∫ a·relu + ∫ relu².
pub fn one_hot_population_loss(g: &mut Graph, w: Node, b: Node) -> Node {
    let c = g.shape(b).first().copied().unwrap_or(1);
    let products = g.einsum("hi,hj->ij", w, w);
    let at_one = g.add(products, b);
    let at_zero = g.broadcast(b, &[c, c]);
    let (end, start) = (g.relu(at_one), g.relu(at_zero));
    // Where the ramp crosses 0, the positive share of its rise is that of the interval; p is not 0 there. Elsewhere all of the
    // interval is on one side, and σ may be 1 for both, since with s = e = 0 it multiplies 0.
    let zero = g.constant(0.0);
    let one = g.constant(1.0);
    let is_up = g.greater(at_one, zero);
    let was_up = g.greater(at_zero, zero);
    let stays = g.equal(is_up, was_up);
    let rise = g.sub(end, start);
    let safe = g.select(stays, one, products);
    let crossing = g.div(rise, safe);
    let share = g.select(stays, one, crossing);
    let squares = {
        let sum = g.add(start, end);
        let both = g.square(sum);
        let product = g.mul(start, end);
        let rest = g.sub(both, product);
        let times = g.mul(share, rest);
        g.scale(times, 1.0 / 3.0)
    };
    let moments = {
        let three = g.constant(3.0);
        let left = g.sub(three, share);
        let of_end = g.mul(end, left);
        let of_start = g.mul(start, share);
        let sum = g.add(of_end, of_start);
        let times = g.mul(share, sum);
        g.scale(times, 1.0 / 6.0)
    };
    let (input, output) = (g.iota(&[c, c], 0), g.iota(&[c, c], 1));
    let is_own = g.equal(input, output);
    let own = g.mul(is_own, moments);
    let twice = g.scale(own, 2.0);
    let errors = g.sub(squares, twice);
    let sum = g.sum(errors, &[0, 1]);
    let mean = g.scale(sum, 1.0 / c as f64);
    let of_nothing = g.constant(1.0 / 3.0);
    g.add(mean, of_nothing)
}

/// A critical point of that loss in two hidden dimensions: k columns of one length at equal angles, with one bias; all other
/// columns are 0, `positive` of them with a bias that pays. Chen et al. 2023 write "5+" for k = 5, `positive` = 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Polygon {
    k: usize,
    positive: usize,
    features: usize,
    length: f64,
    bias: f64,
}

/// Bias of a column of zeros that never shows.
const DEAD: f64 = -1.0;

impl Polygon {
    /// The k-gon, k from 4 to 6, in a model of `features` features; `None` where there is none, or `features` are fewer than
    /// k + `positive`.
    pub fn new(k: usize, positive: usize, features: usize) -> Option<Self> {
        if !(4..=6).contains(&k) || k.saturating_add(positive) > features {
            return None;
        }
        // Columns at right angles do not disturb one another. The others are found by Newton's method.
        let [square, bias] = if k == 4 { [1.0, 0.0] } else { stationary((TAU / k as f64).cos()) };
        Some(Self { k, positive, features, length: square.sqrt(), bias })
    }

    /// Length l of the k columns.
    pub fn length(&self) -> f64 {
        self.length
    }

    /// Their bias.
    pub fn bias(&self) -> f64 {
        self.bias
    }

    /// W `[2, features]`, row by row.
    pub fn w(&self) -> Vec<f64> {
        let row = |part: fn(f64) -> f64| {
            let at = move |i: usize| self.length * part(TAU * i as f64 / self.k as f64);
            (0..self.features).map(move |i| if i < self.k { at(i) } else { 0.0 })
        };
        row(f64::cos).chain(row(f64::sin)).collect()
    }

    /// b `[features]`: of columns of zeros 1/(2·`features`) where it pays, else −1.
    pub fn b(&self) -> Vec<f64> {
        let bias = |i| match i {
            i if i < self.k => self.bias,
            i if i < self.k + self.positive => self.paying(),
            _ => DEAD,
        };
        (0..self.features).map(bias).collect()
    }

    /// The loss there.
    pub fn energy(&self) -> f64 {
        let square = self.length * self.length;
        let cosine = (TAU / self.k as f64).cos();
        let alive =
            if self.k == 4 { 0.0 } else { own_error(square, self.bias) + 2.0 * ramp(square * cosine, self.bias) };
        // A dead column's own input costs ∫a² = ⅓. A positive bias β costs β² for each input and saves 2β∫a: −β + cβ².
        let (c, paying) = (self.features as f64, self.paying());
        let gain = self.positive as f64 * (c * paying * paying - paying);
        (self.k as f64 * alive + (self.features - self.k) as f64 / 3.0 + gain) / c
    }

    /// The β at the least of −β + cβ².
    fn paying(&self) -> f64 {
        0.5 / self.features as f64
    }
}

/// ∫(a − relu(qa + b))² da for b ≤ 0 < q + b: a² up to where the ramp begins, then the square of the line (1 − q)a − b.
fn own_error(q: f64, b: f64) -> f64 {
    let from = -b / q;
    from.powi(3) / 3.0 + ((1.0 - q - b).powi(3) - from.powi(3)) / (3.0 * (1.0 - q))
}

/// ∫relu(pa + b)² da for b ≤ 0 < p + b.
fn ramp(p: f64, b: f64) -> f64 {
    (p + b).powi(3) / (3.0 * p)
}

/// q = l² and b where the derivatives of `own_error(q, b)` + 2 `ramp(q·cosine, b)` are 0: of an input, only the outputs at
/// its own angle and the two beside it are positive.
fn stationary(cosine: f64) -> [f64; 2] {
    // ∫ and ∫a· of the line αa + β from `from` to 1.
    let integral = |alpha: f64, beta: f64, from: f64| alpha * (1.0 - from * from) / 2.0 + beta * (1.0 - from);
    let moment =
        |alpha: f64, beta: f64, from: f64| alpha * (1.0 - from.powi(3)) / 3.0 + beta * (1.0 - from * from) / 2.0;
    let slopes = |[q, b]: [f64; 2]| {
        let p = q * cosine;
        let (own, beside) = (-b / q, -b / p);
        let by_q = -2.0 * moment(1.0 - q, -b, own) + 4.0 * cosine * moment(p, b, beside);
        let by_b = -2.0 * integral(1.0 - q, -b, own) + 4.0 * integral(p, b, beside);
        [by_q, by_b]
    };
    // Any start between the pentagon and the hexagon; the derivatives of the slopes by differences, whose errors slow
    // Newton's method down but do not move its end.
    let mut at = [1.5, -0.4];
    for _ in 0..60 {
        let h = 1e-6;
        let [a, c] = slopes(at);
        let column = |i: usize| {
            let [mut before, mut after] = [at, at];
            (before[i], after[i]) = (at[i] - h, at[i] + h);
            let (before, after) = (slopes(before), slopes(after));
            [(after[0] - before[0]) / (2.0 * h), (after[1] - before[1]) / (2.0 * h)]
        };
        let ([aq, cq], [ab, cb]) = (column(0), column(1));
        let determinant = aq * cb - ab * cq;
        at = [at[0] - (a * cb - c * ab) / determinant, at[1] - (c * aq - a * cq) / determinant];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use ontogeny_graph::{Purpose, Stream, Value};

    const FEATURES: usize = 6;

    /// Loss and its gradient by W and b, in f64, from the reference interpreter.
    fn interpret(w: &[f64], b: &[f64]) -> (f64, Vec<f64>) {
        let mut g = Graph::new();
        let nodes = [g.param("W", &[2, FEATURES]), g.param("b", &[FEATURES])];
        let loss = one_hot_population_loss(&mut g, nodes[0], nodes[1]);
        let gradient = g.gradient(loss, &nodes).unwrap();
        let values =
            BTreeMap::from([("W".to_owned(), Value::Float(w.to_vec())), ("b".to_owned(), Value::Float(b.to_vec()))]);
        let found = g.interpret(&values, &[loss, gradient[0], gradient[1]]).unwrap();
        (found[0][0], found[1..].concat())
    }

    #[test]
    fn the_loss_is_the_integral_over_all_inputs() {
        let n_points = 20_000;
        for seed in 0..10 {
            let mut normals = [0.0_f32; 3 * FEATURES];
            Stream::new(seed, Purpose::Probe, 0).normals(0, 0, &mut normals);
            let weights = normals.map(|z| 0.7 * f64::from(z));
            let (w, b) = weights.split_at(2 * FEATURES);
            let mut sum = 0.0;
            for at in 0..n_points {
                let a = (f64::from(at) + 0.5) / f64::from(n_points);
                for (i, j) in (0..FEATURES).flat_map(|i| (0..FEATURES).map(move |j| (i, j))) {
                    let product = w[i] * w[j] + w[FEATURES + i] * w[FEATURES + j];
                    let wanted = if i == j { a } else { 0.0 };
                    sum += (wanted - (product * a + b[j]).max(0.0)).powi(2);
                }
            }
            let integral = sum / f64::from(n_points) / FEATURES as f64;
            // The midpoint rule errs by f''/24N² in each of 36 terms over 6, with |f''| = 2p² up to some 30.
            let (found, _) = interpret(w, b);
            assert!((found - integral).abs() < 1e-8, "{found} {integral}");
        }
    }

    #[test]
    fn polygons_have_their_published_sizes_and_energies() {
        for (name, k, positive, [length, bias, energy]) in [
            ("4", 4, 0, [1.0, 0.0, 0.111_111]),
            ("4+", 4, 1, [1.0, 0.0, 0.104_167]),
            ("4++", 4, 2, [1.0, 0.0, 0.097_222]),
            ("5", 5, 0, [1.170_46, -0.282_30, 0.068_744]),
            ("5+", 5, 1, [1.170_46, -0.282_30, 0.061_799]),
            ("6", 6, 0, [1.320_53, -0.618_14, 0.048_192]),
        ] {
            let polygon = Polygon::new(k, positive, FEATURES).unwrap();
            // Half of the last printed digit.
            assert!((polygon.length() - length).abs() < 0.501e-5, "{name}: length {}", polygon.length());
            assert!((polygon.bias() - bias).abs() < 0.501e-5, "{name}: bias {}", polygon.bias());
            assert!((polygon.energy() - energy).abs() < 0.501e-6, "{name}: energy {}", polygon.energy());
            let (loss, gradient) = interpret(&polygon.w(), &polygon.b());
            assert!((loss - polygon.energy()).abs() < 1e-14, "{name}: {loss} {}", polygon.energy());
            assert!(gradient.iter().all(|slope| slope.abs() < 1e-12), "{name}: {gradient:?}");
        }
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        // A little off the pentagon, where columns and biases still do all that they do there.
        let polygon = Polygon::new(5, 1, FEATURES).unwrap();
        let mut weights = [polygon.w(), polygon.b()].concat();
        weights.iter_mut().enumerate().for_each(|(i, weight)| *weight += 0.01 * (i as f64).sin());
        let loss = |weights: &[f64]| interpret(&weights[..2 * FEATURES], &weights[2 * FEATURES..]);
        let (_, gradient) = loss(&weights);
        for i in 0..weights.len() {
            let moved = |by: f64| {
                let mut weights = weights.clone();
                weights[i] += by;
                loss(&weights).0
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            // Central differences: h² of curvature, and 1e-16/h of rounding.
            assert!((gradient[i] - slope).abs() < 1e-8, "{i}: {} {slope}", gradient[i]);
        }
    }

    #[test]
    fn other_polygons_are_none() {
        for (k, positive, features) in [(3, 0, 6), (7, 0, 9), (6, 1, 6), (4, usize::MAX, 6)] {
            assert_eq!(Polygon::new(k, positive, features), None);
        }
        assert!(Polygon::new(6, 3, 9).is_some());
    }
}
