//! Operators that take each number for itself.

use ontogeny_graph::Node;

use crate::onnx::build::{Build, Call, Outcome, Value};
use crate::onnx::error::Problem;
use crate::onnx::host::{Host, Kind, common_shape, rounded};

/// Functions of one argument.
pub(super) fn function(call: &mut Call<'_, '_>) -> Outcome {
    let name = call.operation.operator.clone();
    let x = call.input(0)?;
    let settings = Settings::read(call, &name)?;
    if let Value::Host(host) = &x {
        let kind = if matches!(name.as_str(), "Not" | "IsNaN") { Kind::Bool } else { host.kind };
        let known = |x| known_function(&name, x);
        if known(1.0).is_some() {
            call.build.claim(host.values.len())?;
            let values = host.values.iter().map(|&x| rounded(kind, known(x).unwrap_or(f64::NAN))).collect();
            return Ok(vec![Value::of(Host { shape: host.shape.clone(), kind, values })]);
        }
    }
    let kind = if matches!(name.as_str(), "Not" | "IsNaN") { Kind::Bool } else { Kind::Float };
    let x = call.build.floats(&x)?;
    let node = run_function(call.build, &name, settings, x)?;
    Ok(vec![Value::Run(node, kind)])
}

/// Constants of the activations that have them.
#[derive(Clone, Copy)]
struct Settings {
    alpha: f64,
    beta: f64,
    gamma: f64,
    is_tanh: bool,
}

impl Settings {
    fn read(call: &Call<'_, '_>, name: &str) -> Result<Self, Problem> {
        let (alpha, beta) = match name {
            "LeakyRelu" => (0.01, 0.0),
            "HardSigmoid" => (0.2, 0.5),
            // Klambauer et al. 2017.
            "Selu" => (1.673_263_2, 0.0),
            _ => (1.0, 0.0),
        };
        let is_tanh = match call.text("approximate", "none")?.as_str() {
            "none" => false,
            "tanh" => true,
            other => return Err(Problem::new(format!("`approximate` = {other}"), "`none` or `tanh`")),
        };
        Ok(Self {
            alpha: call.float("alpha", alpha)?,
            beta: call.float("beta", beta)?,
            gamma: call.float("gamma", 1.050_701)?,
            is_tanh,
        })
    }
}

/// At import; `None` for functions that only a network needs.
fn known_function(name: &str, x: f64) -> Option<f64> {
    Some(match name {
        "Abs" => x.abs(),
        "Ceil" => x.ceil(),
        "Cos" => x.cos(),
        "Exp" => x.exp(),
        "Floor" => x.floor(),
        "IsNaN" => f64::from(x.is_nan()),
        "Log" => x.ln(),
        "Neg" => -x,
        "Not" => f64::from(x == 0.0),
        "Reciprocal" => 1.0 / x,
        "Relu" => x.max(0.0),
        // Halves to the even neighbour.
        "Round" => x.round_ties_even(),
        "Sigmoid" => 1.0 / (1.0 + (-x).exp()),
        "Sign" if x == 0.0 => 0.0,
        "Sign" => x.signum(),
        "Sin" => x.sin(),
        "Sqrt" => x.sqrt(),
        "Tanh" => x.tanh(),
        _ => return None,
    })
}

fn run_function(build: &mut Build<'_>, name: &str, settings: Settings, x: Node) -> Result<Node, Problem> {
    let Settings { alpha, beta, gamma, is_tanh } = settings;
    let g = &mut *build.g;
    Ok(match name {
        "Abs" => g.abs(x),
        "Exp" => g.exp(x),
        "Erf" => g.erf(x),
        "Gelu" if is_tanh => g.gelu_tanh(x),
        "Gelu" => g.gelu(x),
        "Log" => g.log(x),
        "Neg" => g.neg(x),
        "Reciprocal" => g.recip(x),
        "Relu" => g.relu(x),
        "Sigmoid" => g.sigmoid(x),
        "Sqrt" => g.sqrt(x),
        "Tanh" => g.tanh(x),
        "Not" => {
            let one = g.constant(1.0);
            g.sub(one, x)
        }
        // Nothing but NaN differs from itself.
        "IsNaN" => {
            let (one, same) = (g.constant(1.0), g.equal(x, x));
            g.sub(one, same)
        }
        "LeakyRelu" => {
            let low = g.scale(x, alpha);
            build.where_positive(x, x, low)
        }
        "Elu" | "Celu" | "Selu" => {
            // Where x is positive the exponential is not read: it must not overflow there, as ∞·0 is no derivative.
            let negative = g.neg(x);
            let below = g.relu(negative);
            let below = g.neg(below);
            let below = if name == "Celu" { g.scale(below, 1.0 / alpha) } else { below };
            let (exponential, one) = (g.exp(below), g.constant(1.0));
            let low = g.sub(exponential, one);
            let low = g.scale(low, alpha);
            let node = build.where_positive(x, x, low);
            if name == "Selu" { build.g.scale(node, gamma) } else { node }
        }
        "HardSigmoid" => build.hard_sigmoid(x, alpha, beta),
        "HardSwish" => {
            let gate = build.hard_sigmoid(x, 1.0 / 6.0, 0.5);
            build.g.mul(x, gate)
        }
        "Softplus" => build.softplus(x),
        "Mish" => {
            let gate = build.softplus(x);
            let gate = build.g.tanh(gate);
            build.g.mul(x, gate)
        }
        "Swish" => {
            let scaled = g.scale(x, alpha);
            let gate = g.sigmoid(scaled);
            g.mul(x, gate)
        }
        _ => {
            let found = format!("{name} of what the network computes");
            return Err(Problem::new(found, format!("{name} of what follows from shapes and constants")));
        }
    })
}

impl Build<'_> {
    fn where_positive(&mut self, x: Node, high: Node, low: Node) -> Node {
        let zero = self.g.constant(0.0);
        let is_positive = self.g.greater(x, zero);
        self.g.select(is_positive, high, low)
    }

    /// The smaller, or larger, of two; the first where they are equal.
    fn extremum(&mut self, a: Node, b: Node, is_max: bool) -> Node {
        let is_second = if is_max { self.g.greater(b, a) } else { self.g.greater(a, b) };
        self.g.select(is_second, b, a)
    }

    /// max(0, min(1, αx + β)).
    fn hard_sigmoid(&mut self, x: Node, alpha: f64, beta: f64) -> Node {
        let beta = self.g.constant(beta);
        let line = self.g.scale(x, alpha);
        let line = self.g.add(line, beta);
        let (zero, one) = (self.g.constant(0.0), self.g.constant(1.0));
        let low = self.extremum(line, zero, true);
        self.extremum(low, one, false)
    }

    /// ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|).
    fn softplus(&mut self, x: Node) -> Node {
        let size = self.g.abs(x);
        let size = self.g.neg(size);
        let small = self.g.exp(size);
        let small = self.g.log1p(small);
        let large = self.g.relu(x);
        self.g.add(large, small)
    }
}

/// Two operands, broadcast against each other.
pub(super) fn arithmetic(call: &mut Call<'_, '_>) -> Outcome {
    let name = call.operation.operator.clone();
    let (a, b) = (call.input(0)?, call.input(1)?);
    let is_truth =
        matches!(name.as_str(), "And" | "Or" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual");
    if let (Value::Host(a), Value::Host(b)) = (&a, &b) {
        let is_integer = a.kind != Kind::Float && b.kind != Kind::Float;
        let kind = match (is_truth, is_integer) {
            (true, _) => Kind::Bool,
            (false, true) => Kind::Int,
            (false, false) => Kind::Float,
        };
        let has_sign_of_first = call.integer("fmod", 0)? != 0;
        let shape = common_shape(&[&a.shape, &b.shape])?;
        let result = call.build.host(shape, kind, |index| {
            let (x, y) = (a.at(index), b.at(index));
            match name.as_str() {
                "Add" => x + y,
                "Sub" => x - y,
                "Mul" => x * y,
                // Whole numbers are divided towards zero.
                "Div" if is_integer => (x / y).trunc(),
                "Div" => x / y,
                "Mod" if has_sign_of_first => x % y,
                "Mod" => x - y * (x / y).floor(),
                "And" => f64::from(x != 0.0 && y != 0.0),
                "Or" => f64::from(x != 0.0 || y != 0.0),
                "Equal" => f64::from(x == y),
                "Greater" => f64::from(x > y),
                "GreaterOrEqual" => f64::from(x >= y),
                "Less" => f64::from(x < y),
                _ => f64::from(x <= y),
            }
        })?;
        return Ok(vec![result]);
    }
    if !is_truth && a.kind() == Kind::Int && b.kind() == Kind::Int {
        let expected = "arithmetic of floats: ids only choose rows and are compared";
        return Err(Problem::new(format!("{name} of integers that the network reads"), expected));
    }
    let (a, b) = (call.build.floats(&a)?, call.build.floats(&b)?);
    let g = &mut *call.build.g;
    let one = g.constant(1.0);
    let node = match name.as_str() {
        "Add" => g.add(a, b),
        "Sub" => g.sub(a, b),
        "Mul" | "And" => g.mul(a, b),
        "Div" => g.div(a, b),
        "Equal" => g.equal(a, b),
        "Greater" => g.greater(a, b),
        "Less" => g.greater(b, a),
        "GreaterOrEqual" => {
            let less = g.greater(b, a);
            g.sub(one, less)
        }
        "LessOrEqual" => {
            let more = g.greater(a, b);
            g.sub(one, more)
        }
        "Or" => {
            let (sum, product) = (g.add(a, b), g.mul(a, b));
            g.sub(sum, product)
        }
        _ => return Err(Problem::new(format!("{name} of what the network computes"), "Mod of constants")),
    };
    Ok(vec![Value::Run(node, if is_truth { Kind::Bool } else { Kind::Float })])
}

/// `Max`, `Min`, `Sum` and `Mean` of any number of operands.
pub(super) fn extremum(call: &mut Call<'_, '_>) -> Outcome {
    let name = call.operation.operator.clone();
    let operands = (0..call.n_inputs()).map(|at| call.input(at)).collect::<Result<Vec<_>, _>>()?;
    let n = operands.len() as f64;
    if n == 0.0 {
        return Err(Problem::new("no operands", "at least one"));
    }
    let known: Option<Vec<_>> = operands.iter().map(|value| value.known().cloned()).collect();
    if let Some(hosts) = known {
        let shapes: Vec<&[usize]> = hosts.iter().map(|host| host.shape.as_slice()).collect();
        let (shape, kind) = (common_shape(&shapes)?, hosts[0].kind);
        let result = call.build.host(shape, kind, |index| {
            let values = hosts.iter().map(|host| host.at(index));
            match name.as_str() {
                "Max" => values.fold(f64::NEG_INFINITY, f64::max),
                "Min" => values.fold(f64::INFINITY, f64::min),
                "Sum" => values.sum(),
                _ => values.sum::<f64>() / n,
            }
        })?;
        return Ok(vec![result]);
    }
    let mut node = call.build.floats(&operands[0])?;
    for operand in &operands[1..] {
        let other = call.build.floats(operand)?;
        node = match name.as_str() {
            "Max" | "Min" => call.build.extremum(node, other, name == "Max"),
            _ => call.build.g.add(node, other),
        };
    }
    Call::done(if name == "Mean" { call.build.g.scale(node, 1.0 / n) } else { node })
}

/// Bounds on both sides; the derivative at a bound is that of the argument.
pub(super) fn clip(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.input(0)?;
    let bound = |at| call.optional(at).map(|_| call.known(at)?.single()).transpose();
    let (low, high) = (bound(1)?, bound(2)?);
    if let Value::Host(host) = &x {
        let (low, high) = (low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY));
        call.build.claim(host.values.len())?;
        let values = host.values.iter().map(|x| x.max(low).min(high)).collect();
        return Ok(vec![Value::of(Host { values, ..Host::clone(host) })]);
    }
    let mut node = call.build.floats(&x)?;
    for (bound, is_max) in [(low, true), (high, false)] {
        if let Some(bound) = bound {
            let bound = call.build.g.constant(bound);
            node = call.build.extremum(node, bound, is_max);
        }
    }
    Call::done(node)
}

/// x where it is positive, else slope·x.
pub(super) fn prelu(call: &mut Call<'_, '_>) -> Outcome {
    let (x, slope) = (call.floats(0)?, call.floats(1)?);
    let low = call.build.g.mul(x, slope);
    Call::done(call.build.where_positive(x, x, low))
}

/// `Where`.
pub(super) fn choose(call: &mut Call<'_, '_>) -> Outcome {
    let (condition, a, b) = (call.input(0)?, call.input(1)?, call.input(2)?);
    if let (Value::Host(condition), Value::Host(a), Value::Host(b)) = (&condition, &a, &b) {
        let shape = common_shape(&[&condition.shape, &a.shape, &b.shape])?;
        let pick = |index: &[usize]| if condition.at(index) == 0.0 { b.at(index) } else { a.at(index) };
        return Ok(vec![call.build.host(shape, a.kind, pick)?]);
    }
    if a.kind() == Kind::Int || b.kind() == Kind::Int {
        return Err(Problem::new("a choice of integers that depends on the input", "a choice of floats"));
    }
    let kind = a.kind();
    let [condition, a, b] = [call.build.floats(&condition)?, call.build.floats(&a)?, call.build.floats(&b)?];
    Ok(vec![Value::Run(call.build.g.select(condition, a, b), kind)])
}

/// A power whose exponent, or base, is one number.
pub(super) fn power(call: &mut Call<'_, '_>) -> Outcome {
    let (base, exponent) = (call.input(0)?, call.input(1)?);
    if let (Value::Host(base), Value::Host(exponent)) = (&base, &exponent) {
        let shape = common_shape(&[&base.shape, &exponent.shape])?;
        let kind = base.kind;
        return Ok(vec![call.build.host(shape, kind, |index| base.at(index).powf(exponent.at(index)))?]);
    }
    let of = |value: &Value| value.known().and_then(|host| host.uniform());
    if let Some(base) = of(&base) {
        if base <= 0.0 {
            return Err(Problem::new(format!("a power of {base}"), "a positive base"));
        }
        let exponent = call.build.floats(&exponent)?;
        let scaled = call.build.g.scale(exponent, base.ln());
        return Call::done(call.build.g.exp(scaled));
    }
    let Some(p) = of(&exponent) else {
        return Err(Problem::new("an exponent that is not one constant", "one number, such as 2 or 0.5"));
    };
    let x = call.build.floats(&base)?;
    let g = &mut *call.build.g;
    Call::done(match p {
        0.5 => g.sqrt(x),
        -0.5 => {
            let root = g.sqrt(x);
            g.recip(root)
        }
        _ if p.fract() == 0.0 && (1.0..=16.0).contains(&p.abs()) => {
            let mut power = x;
            for _ in 1..p.abs() as usize {
                power = g.mul(power, x);
            }
            if p < 0.0 { g.recip(power) } else { power }
        }
        // Defined for positive bases alone, as other powers are.
        _ => {
            let logarithm = g.log(x);
            let scaled = g.scale(logarithm, p);
            g.exp(scaled)
        }
    })
}

/// To the type numbered `to` in `TensorProto.DataType`.
pub(super) fn cast(call: &mut Call<'_, '_>) -> Outcome {
    let kind = match call.integer("to", 1)? {
        1 | 10 | 11 | 16 => Kind::Float,
        2..=7 | 12 | 13 => Kind::Int,
        9 => Kind::Bool,
        other => {
            return Err(Problem::new(format!("a cast to ONNX's type {other}"), "floats, integers or truth values"));
        }
    };
    convert(call, kind)
}

pub(super) fn cast_like(call: &mut Call<'_, '_>) -> Outcome {
    let kind = call.input(1)?.kind();
    convert(call, kind)
}

fn convert(call: &mut Call<'_, '_>, kind: Kind) -> Outcome {
    let x = call.input(0)?;
    Ok(vec![match (&x, kind) {
        (Value::Host(host), _) => {
            call.build.claim(host.values.len())?;
            let whole = |x: f64| if kind == Kind::Int { x.trunc() } else { x };
            let values = host.values.iter().map(|&x| rounded(kind, whole(x))).collect();
            Value::of(Host { shape: host.shape.clone(), kind, values })
        }
        (Value::Run(_, own), _) if *own == kind => x,
        (_, Kind::Float) => Value::Run(call.build.floats(&x)?, Kind::Float),
        (_, Kind::Bool) => {
            let x = call.build.floats(&x)?;
            let (zero, one) = (call.build.g.constant(0.0), call.build.g.constant(1.0));
            let is_zero = call.build.g.equal(x, zero);
            Value::Run(call.build.g.sub(one, is_zero), Kind::Bool)
        }
        (_, Kind::Int) => {
            let expected = "integers of the input, or of shapes and constants";
            return Err(Problem::new("integers made of what the network computes", expected));
        }
    }])
}
