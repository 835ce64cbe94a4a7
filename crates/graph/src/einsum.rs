//! Two-operand Einstein sums: one primitive for every matrix product, closed under differentiation.

use std::fmt;

/// Axis labels of `einsum("btd,hde->bthe", a, b)`.
///
/// Every label of the operands stands in the other operand or in the result; none stands twice in one list. That
/// makes both derivatives einsums of the same kind: ∂/∂a is `out,b->a`, ∂/∂b is `out,a->b`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EinsumSpec {
    pub(crate) a: Vec<u8>,
    pub(crate) b: Vec<u8>,
    pub(crate) out: Vec<u8>,
}

impl EinsumSpec {
    /// Parses `"ab,bc->ac"`; `None` where the labels are not as promised above.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (operands, out) = text.split_once("->")?;
        let (a, b) = operands.split_once(',')?;
        let spec = Self { a: a.bytes().collect(), b: b.bytes().collect(), out: out.bytes().collect() };
        let distinct = |labels: &[u8]| labels.iter().enumerate().all(|(i, l)| !labels[..i].contains(l));
        let fits = distinct(&spec.a)
            && distinct(&spec.b)
            && distinct(&spec.out)
            && spec.a.iter().chain(&spec.b).chain(&spec.out).all(u8::is_ascii_alphabetic)
            && spec.a.iter().all(|l| spec.b.contains(l) || spec.out.contains(l))
            && spec.b.iter().all(|l| spec.a.contains(l) || spec.out.contains(l))
            && spec.out.iter().all(|l| spec.a.contains(l) || spec.b.contains(l));
        fits.then_some(spec)
    }

    /// The einsum whose result is the cotangent of the first operand, from (cotangent, b).
    pub(crate) fn cotangent_a(&self) -> Self {
        Self { a: self.out.clone(), b: self.b.clone(), out: self.a.clone() }
    }

    /// The einsum whose result is the cotangent of the second operand, from (a, cotangent).
    pub(crate) fn cotangent_b(&self) -> Self {
        Self { a: self.a.clone(), b: self.out.clone(), out: self.b.clone() }
    }

    /// Extent of every label; `None` where two operands disagree or ranks do not fit.
    pub(crate) fn extents(&self, a: &[usize], b: &[usize]) -> Option<Vec<(u8, usize)>> {
        if a.len() != self.a.len() || b.len() != self.b.len() {
            return None;
        }
        let mut extents: Vec<(u8, usize)> = self.a.iter().copied().zip(a.iter().copied()).collect();
        for (&label, &extent) in self.b.iter().zip(b) {
            match extents.iter().find(|(l, _)| *l == label) {
                Some((_, known)) if *known != extent => return None,
                Some(_) => {}
                None => extents.push((label, extent)),
            }
        }
        Some(extents)
    }

    /// Shape of the result.
    pub(crate) fn out_shape(&self, a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
        let extents = self.extents(a, b)?;
        Some(self.out.iter().map(|label| extent_of(&extents, *label)).collect())
    }

    /// Labels summed over: in both operands and not in the result, in the order of the first.
    pub(crate) fn contracted(&self) -> Vec<u8> {
        self.a.iter().copied().filter(|l| !self.out.contains(l)).collect()
    }
}

/// Extent of a label that is known to be there.
pub(crate) fn extent_of(extents: &[(u8, usize)], label: u8) -> usize {
    extents.iter().find(|(l, _)| *l == label).map_or(1, |(_, extent)| *extent)
}

impl fmt::Display for EinsumSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |labels: &[u8]| String::from_utf8_lossy(labels).into_owned();
        write!(f, "{},{}->{}", text(&self.a), text(&self.b), text(&self.out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_must_be_distinct_and_used() {
        for (text, valid) in [
            ("ab,bc->ac", true),
            ("btd,hde->bthe", true),
            ("a,b->ab", true),
            ("aa,b->ab", false), // twice in one operand
            ("ab,c->ac", false), // b is in one operand only: sum first
            ("ab,bc->acd", false),
            ("ab,bc", false),
            ("a1,1b->ab", false),
        ] {
            assert_eq!(EinsumSpec::parse(text).is_some(), valid, "{text}");
        }
    }

    #[test]
    fn derivatives_are_einsums() {
        let spec = EinsumSpec::parse("btd,hde->bthe").unwrap();
        assert_eq!(spec.cotangent_a().to_string(), "bthe,hde->btd");
        assert_eq!(spec.cotangent_b().to_string(), "btd,bthe->hde");
        assert_eq!(spec.contracted(), b"d");
    }
}
