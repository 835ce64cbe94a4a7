//! Which coordinates restrictions free, on a transformer with grouped queries, an MLP and a deep linear network.

use ontogeny_graph::{Graph, ParamSpace};
use ontogeny_posterior::{Restriction, RestrictionError, Selection};
use proptest::prelude::*;

/// Two layers, width 6, four query heads of size 5 (not 6/4) on two key and value heads, a gated MLP of 7.
fn transformer() -> ParamSpace {
    let mut g = Graph::new();
    g.param("embed.W_E", &[7, 6]);
    g.param("pos_embed.W_pos", &[3, 6]);
    for layer in 0..2 {
        let mut p = |name: &str, shape: &[usize]| g.param(&format!("blocks.{layer}.{name}"), shape);
        p("ln1.w", &[6]);
        p("attn.W_Q", &[4, 6, 5]);
        p("attn.W_K", &[2, 6, 5]);
        p("attn.W_V", &[2, 6, 5]);
        p("attn.W_O", &[4, 5, 6]);
        p("attn.b_Q", &[4, 5]);
        p("attn.b_K", &[2, 5]);
        p("attn.b_V", &[2, 5]);
        p("attn.b_O", &[6]);
        p("mlp.W_in", &[6, 7]);
        p("mlp.W_gate", &[6, 7]);
        p("mlp.b_in", &[7]);
        p("mlp.W_out", &[7, 6]);
        p("mlp.b_out", &[6]);
    }
    g.param("unembed.W_U", &[6, 7]);
    ParamSpace::of(&g)
}

/// An MLP 3-4-5-2 as `ontogeny-zoo` lays it out.
fn mlp() -> ParamSpace {
    let mut g = Graph::new();
    let mut x = g.input("x", &[1, 3]);
    for (layer, width) in [4, 5, 2].into_iter().enumerate() {
        x = g.linear(&format!("layers.{layer}"), x, width);
    }
    ParamSpace::of(&g)
}

/// W_2·W_1·W_0 with widths 3-4-4-2.
fn deep_linear() -> ParamSpace {
    let mut g = Graph::new();
    for (layer, shape) in [[3, 4], [4, 4], [4, 2]].iter().enumerate() {
        g.param(&format!("layers.{layer}.W"), shape);
    }
    ParamSpace::of(&g)
}

/// Whether an entry of a parameter is selected, by its name and indices.
type Rule = fn(&str, &[usize]) -> bool;

fn check_table(space: &ParamSpace, table: &[(&str, Rule)]) {
    for (expression, rule) in table {
        let selection = resolve(expression, space).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let mut n_free = 0;
        let mut names = Vec::new();
        for param in space.iter() {
            for at in 0..param.range.len() {
                let mut indices = vec![0; param.shape.len()];
                let mut rest = at;
                for (index, extent) in indices.iter_mut().zip(&param.shape).rev() {
                    (*index, rest) = (rest % extent, rest / extent);
                }
                let expected = rule(&param.name, &indices);
                let found = selection.ranges().iter().any(|range| range.contains(&(param.range.start + at)));
                assert_eq!(found, expected, "`{expression}`: {}{indices:?}", param.name);
                n_free += usize::from(expected);
                if expected && names.last() != Some(&param.name) {
                    names.push(param.name.clone());
                }
            }
        }
        assert_eq!((selection.n_free(), selection.names()), (n_free, &names[..]), "`{expression}`");
    }
}

fn resolve(expression: &str, space: &ParamSpace) -> Result<Selection, RestrictionError> {
    expression.parse::<Restriction>()?.resolve(space)
}

#[test]
fn expressions_select_exactly_what_they_say_in_a_transformer() {
    fn in_attn(name: &str) -> bool {
        name.contains(".attn.")
    }
    fn in_embed(name: &str) -> bool {
        name == "embed.W_E" || name == "pos_embed.W_pos"
    }
    /// Query head `h` of layer 0, which shares key and value head h/2.
    fn is_head(name: &str, i: &[usize], head: usize) -> bool {
        let Some(tensor) = name.strip_prefix("blocks.0.attn.") else { return false };
        match tensor {
            "W_Q" | "W_O" | "b_Q" => i[0] == head,
            "W_K" | "W_V" | "b_K" | "b_V" => i[0] == head / 2,
            _ => false,
        }
    }
    fn is_neuron(name: &str, i: &[usize], layer: usize, neuron: usize) -> bool {
        let Some(tensor) = name.strip_prefix(&format!("blocks.{layer}.mlp.")) else { return false };
        match tensor {
            "W_in" | "W_gate" => i[1] == neuron,
            "b_in" | "W_out" => i[0] == neuron,
            _ => false,
        }
    }
    let table: &[(&str, Rule)] = &[
        ("full", |_, _| true),
        ("embed", |name, _| in_embed(name)),
        ("unembed", |name, _| name == "unembed.W_U"),
        ("attn", |name, _| in_attn(name)),
        ("mlp", |name, _| name.contains(".mlp.")),
        ("l1", |name, _| name.starts_with("blocks.1.")),
        ("l0 attn", |name, _| name.starts_with("blocks.0.attn.")),
        ("blocks.0.attn.W_Q", |name, _| name == "blocks.0.attn.W_Q"),
        ("blocks.1.mlp", |name, _| name.starts_with("blocks.1.mlp.")),
        ("blocks.*.mlp.W_*", |name, _| name.contains(".mlp.W_")),
        ("*W_O", |name, _| name.ends_with("W_O")),
        // Heads and groups.
        ("l0h1", |name, i| is_head(name, i, 1)),
        ("l0h2", |name, i| is_head(name, i, 2)),
        ("blocks.0.attn.head.2", |name, i| is_head(name, i, 2)),
        ("l0h1-2", |name, i| is_head(name, i, 1) || is_head(name, i, 2)),
        ("l0g1", |name, i| is_head(name, i, 2) || is_head(name, i, 3)),
        ("blocks.0.attn.group.0", |name, i| is_head(name, i, 0) || is_head(name, i, 1)),
        ("l0g0-1", |name, _| name.starts_with("blocks.0.attn.") && name != "blocks.0.attn.b_O"),
        // Neurons.
        ("l0n0", |name, i| is_neuron(name, i, 0, 0)),
        ("l1n6", |name, i| is_neuron(name, i, 1, 6)),
        ("blocks.1.mlp.neuron.3", |name, i| is_neuron(name, i, 1, 3)),
        ("l0n2-4", |name, i| (2..=4).any(|n| is_neuron(name, i, 0, n))),
        ("blocks.0.mlp.neuron.2-4", |name, i| (2..=4).any(|n| is_neuron(name, i, 0, n))),
        ("l0n0-6", |name, _| name.starts_with("blocks.0.mlp.") && name != "blocks.0.mlp.b_out"),
        // Operators.
        ("attn & l0", |name, _| name.starts_with("blocks.0.attn.")),
        ("!embed", |name, _| !in_embed(name)),
        ("attn & !l0g0", |name, i| in_attn(name) && !is_head(name, i, 0) && !is_head(name, i, 1)),
        ("(l0h2 | l0h3) & blocks.*.attn.W_Q", |name, i| name == "blocks.0.attn.W_Q" && i[0] >= 2),
        ("l0h2 | l0h3 & blocks.*.attn.W_Q", |name, i| is_head(name, i, 2) || name == "blocks.0.attn.W_Q" && i[0] == 3),
        ("embed + unembed", |name, _| in_embed(name) || name.starts_with("unembed.")),
        ("full & !mlp", |name, _| !name.contains(".mlp.")),
        ("!(embed | unembed) & !attn", |name, _| !name.contains("embed") && !in_attn(name)),
        // The shared key head alone: in both of its query heads, and in no query tensor.
        ("l0h2 & l0h3", |name, i| {
            name.starts_with("blocks.0.attn.")
                && i[0] == 1
                && ["W_K", "W_V", "b_K", "b_V"].iter().any(|t| name.ends_with(t))
        }),
        ("l1n3 & *.W_out", |name, i| name == "blocks.1.mlp.W_out" && i[0] == 3),
        ("l1n3-4 & *.W_in", |name, i| name == "blocks.1.mlp.W_in" && (i[1] == 3 || i[1] == 4)),
    ];
    check_table(&transformer(), table);
}

#[test]
fn expressions_select_exactly_what_they_say_in_networks_of_layers() {
    let mlp_table: &[(&str, Rule)] = &[
        ("l1", |name, _| name.starts_with("layers.1.")),
        ("l0n2", |name, i| match name {
            "layers.0.W" => i[1] == 2,
            "layers.0.b" | "layers.1.W" => i[0] == 2,
            _ => false,
        }),
        ("layers.1.neuron.0-1", |name, i| match name {
            "layers.1.W" => i[1] <= 1,
            "layers.1.b" | "layers.2.W" => i[0] <= 1,
            _ => false,
        }),
        ("l0n2 & l0", |name, i| name == "layers.0.W" && i[1] == 2 || name == "layers.0.b" && i[0] == 2),
        ("!*.b", |name, _| !name.ends_with('b')),
    ];
    check_table(&mlp(), mlp_table);
    let linear_table: &[(&str, Rule)] = &[
        ("l1n3", |name, i| name == "layers.1.W" && i[1] == 3 || name == "layers.2.W" && i[0] == 3),
        ("l0n1 & l1n3", |name, i| name == "layers.1.W" && i[..] == [1, 3]),
    ];
    check_table(&deep_linear(), linear_table);
}

#[test]
fn defect_5_a_head_has_its_own_size() {
    let space = transformer();
    let start = |name: &str| space.find(&format!("blocks.0.attn.{name}")).unwrap().range.start;
    let head = resolve("l0h1", &space).unwrap();
    // Row-major [heads, 6, 5]: head 1 is 30 numbers from the 30th on; 6/4 numbers a row would be neither here nor there.
    for name in ["W_Q", "W_O"] {
        let first = start(name) + 30;
        assert!(head.ranges().contains(&(first..first + 30)), "{name}: {:?}", head.ranges());
    }
    assert!(head.ranges().contains(&(start("W_K")..start("W_K") + 30)), "shared by heads 0 and 1");
    assert!(head.ranges().contains(&(start("b_Q") + 5..start("b_Q") + 10)));
    assert_eq!(head.n_free(), 4 * 30 + 3 * 5);
}

#[test]
fn a_list_is_the_union_of_its_expressions() {
    let space = transformer();
    let list = Restriction::union(&["attn & l0", " l1n3", "embed|unembed"]).unwrap();
    assert_eq!(list.to_string(), "attn & l0 + l1n3 + embed|unembed");
    assert_eq!(list.resolve(&space), resolve(&list.to_string(), &space), "as displayed, it is the same");
    assert_eq!(list.resolve(&space), resolve("(attn & l0) | l1n3 | embed | unembed", &space));
    assert_eq!(Restriction::full(), "full".parse().unwrap());
}

#[test]
fn a_name_comes_before_any_word() {
    let mut g = Graph::new();
    g.param("embed", &[2]);
    g.param("embed.W", &[3]);
    g.param("a[sv 0]", &[4]);
    g.param("p+q", &[5]);
    let space = ParamSpace::of(&g);
    let n_free = |text: &str| resolve(text, &space).unwrap().n_free();
    assert_eq!((n_free("embed"), n_free("embed.*"), n_free("a[sv 0]"), n_free("p+q")), (2, 3, 4, 5));
}

#[test]
fn mistakes_are_named() {
    let space = transformer();
    for (expression, message) in [
        ("", "an empty restriction; give `full`"),
        (" \t", "an empty restriction; give `full`"),
        ("full | embed", "`full` stands in a list of restrictions; it contains all others, so give it alone"),
        ("unembd", "unknown restriction `unembd`; did you mean `unembed`"),
        ("attn & unembd", "unknown restriction `unembd`; did you mean `unembed`"),
        ("blocks.0.mlp.W_on", "unknown restriction `blocks.0.mlp.W_on`; did you mean `blocks.0.mlp.W_"),
        ("l2", "restriction `l2`: there is no layer 2; the network has 2 layers, numbers 0 to 1"),
        ("l7 mlp", "restriction `l7 mlp`: there is no layer 7"),
        ("!l7", "restriction `l7`: there is no layer 7"),
        ("l0h4", "restriction `l0h4`: there is no head 4 in layer 0; it has 4 heads, numbers 0 to 3"),
        ("l0h2-9", "restriction `l0h2-9`: there is no head 4 in layer 0"),
        ("blocks.1.attn.head.9", "restriction `blocks.1.attn.head.9`: there is no head 9 in layer 1"),
        ("l0g2", "restriction `l0g2`: there is no group 2 in layer 0; it has 2 groups, numbers 0 to 1"),
        ("l1n7", "restriction `l1n7`: there is no neuron 7 in layer 1; it has 7 neurons, numbers 0 to 6"),
        ("l1n5-2", "restriction `l1n5-2`: the range 5-2 ends before it starts; write 2-5"),
        ("nothing.*", "restriction `nothing.*` selects no parameter"),
        ("lx", "unknown restriction `lx`"),
        ("l0n", "unknown restriction `l0n`"),
        ("l0n-3", "unknown restriction `l0n-3`"),
        ("l+0", "unknown restriction `l+0`"),
        ("l0n99999999999999999999999", "unknown restriction `l0n99999999999999999999999`"),
        (
            "attn & mlp",
            "restriction `attn & mlp` selects nothing: its parts do (`attn` 812, `mlp` 278 of 1204 weights), but nothing is \
             left by its operators; `&` keeps what is in both sides, `|` what is in either, `!` all else",
        ),
        ("!full", "restriction `!full` selects nothing: its parts do (`full` 1204 of 1204 weights)"),
        ("attn & (l0", "restriction `attn & (l0`, character 8, at `(l0`: this `(` is never closed; add a `)`"),
        ("attn l0h2 & ", "restriction `attn l0h2 &`, character 12, at the end: expected a part here"),
        // Singular directions.
        ("blocks.0.mlp.W_im[sv 0]", "unknown restriction `blocks.0.mlp.W_im[sv 0]`; did you mean `blocks.0.mlp.W_in`"),
        ("blocks.0.mlp.W_in[sv]", "unknown restriction `blocks.0.mlp.W_in[sv]`"),
        ("blocks.0.mlp.W_in[sv 3-1]", "restriction `blocks.0.mlp.W_in[sv 3-1]`: the range 3-1 ends before it starts"),
        (
            "blocks.0.mlp.W_in[sv 6]",
            "restriction `blocks.0.mlp.W_in[sv 6]`: `blocks.0.mlp.W_in` has shape [6, 7]; expected more than 6 rows and \
             columns, for direction 6",
        ),
        (
            "embed.W_E[sv 18446744073709551615]",
            "restriction `embed.W_E[sv 18446744073709551615]`: `embed.W_E` has shape [7, 6]",
        ),
        (
            "blocks.0.attn.W_Q[sv 0]",
            "restriction `blocks.0.attn.W_Q[sv 0]`: `blocks.0.attn.W_Q` has shape [4, 6, 5]; expected two axes",
        ),
        (
            "l0 & embed.W_E[sv 0-1]",
            "`embed.W_E[sv 0-1]` stands inside `!` or `&`: singular directions are no set of weights; give them alone",
        ),
        ("!(l1 | embed.W_E[sv 0])", "`embed.W_E[sv 0]` stands inside `!` or `&`"),
        (
            "l0n3 | blocks.0.mlp.W_in[sv 0]",
            "`blocks.0.mlp.W_in` is free in part and along singular directions at once; leave out one of the two",
        ),
        (
            "embed | blocks.0.mlp.W_in[sv 0-1]",
            "restriction `embed | blocks.0.mlp.W_in[sv 0-1]` names singular directions, which depend on the weights",
        ),
    ] {
        let error = resolve(expression, &space).unwrap_err().to_string();
        assert!(error.starts_with(message), "{expression}: {error}");
    }
    assert_eq!(Restriction::union::<&str>(&[]), Err(RestrictionError::Empty));
    assert_eq!(Restriction::union(&["embed", " "]), Err(RestrictionError::Empty));
    assert_eq!(Restriction::union(&["full", "embed"]), Err(RestrictionError::FullInList));

    let message = resolve("l2n0", &mlp()).unwrap_err().to_string();
    assert_eq!(message, "restriction `l2n0`: there is no neuron 0 in layer 2; it has no neurons");
    let mut g = Graph::new();
    g.param("blocks.0.attn.W_Q", &[4, 2, 2]);
    g.param("blocks.0.attn.W_K", &[3, 2, 2]);
    g.param("blocks.0.mlp.W_in", &[2, 4]);
    g.param("blocks.0.mlp.W_out", &[5, 2]);
    let odd = ParamSpace::of(&g);
    for (expression, message) in [
        ("l0h0", "`blocks.0.attn.W_K` has shape [3, 2, 2]; expected the 4 heads, or a divisor of them, first"),
        ("l0g0", "`blocks.0.attn.W_Q` has shape [4, 2, 2]; expected the 3 key and value heads, or a multiple of them"),
        ("l0n0", "`blocks.0.mlp.W_in` has shape [2, 4]; expected the 5 neurons along axis 1"),
    ] {
        let error = resolve(expression, &odd).unwrap_err().to_string();
        assert!(error.starts_with(&format!("restriction `{expression}`: {message}")), "{error}");
    }
}

fn weights(space: &ParamSpace) -> Vec<f32> {
    let mut weights = vec![0.0; space.len()];
    ontogeny_graph::Stream::new(5, ontogeny_graph::Purpose::Probe, 0).normals(0, 0, &mut weights);
    weights
}

#[test]
fn singular_directions_are_counted_and_projected_on() {
    let space = transformer();
    let weights = weights(&space);
    let at = |expression: &str| expression.parse::<Restriction>().unwrap().resolve_at(&space, &weights);
    let own = space.find("blocks.0.mlp.W_in").unwrap().range.clone();
    let selection =
        at("unembed | blocks.0.mlp.W_in[sv 0-1] | blocks.0.mlp.W_in[sv 1] + blocks.0.mlp.W_in[sv 4]").unwrap();
    assert_eq!(selection.n_free(), 42 + 3);
    assert_eq!(selection.names(), ["blocks.0.mlp.W_in", "unembed.W_U"]);
    let [projector] = selection.projectors() else { panic!("one tensor") };
    assert_eq!((projector.range(), projector.shape(), projector.numbers()), (&own, [6, 7], &[0, 1, 4][..]));

    let mut moved: Vec<f32> = weights.iter().map(|w| w + 0.5).collect();
    let before = moved.clone();
    selection.project(&weights, &mut moved);
    assert_ne!(moved[own.clone()], before[own.clone()]);
    assert_eq!((&moved[..own.start], &moved[own.end..]), (&before[..own.start], &before[own.end..]));
    let mut zero = weights.clone();
    selection.project(&weights, &mut zero);
    assert_eq!(zero, weights, "w* projects on itself, bit by bit");

    // A tensor that is free as a whole is free along its directions.
    assert_eq!(at("blocks.0.mlp.W_in[sv 0-1] | blocks.0.mlp"), at("blocks.0.mlp"));
    assert!(at("l0 mlp").unwrap().projectors().is_empty());
    let restriction: Restriction = "blocks.0.mlp.W_in[sv 0-1]".parse().unwrap();
    assert_eq!(restriction.check(&space), Ok(()));
    let message = restriction.resolve_at(&space, &weights[1..]).unwrap_err().to_string();
    assert_eq!(message, "restriction `blocks.0.mlp.W_in[sv 0-1]`: 1203 weights; expected 1204, those of the network");
    let message = restriction.resolve_at(&space, &vec![0.0; 1204]).unwrap_err().to_string();
    assert!(message.contains("singular direction 0 of `blocks.0.mlp.W_in` is not determined"), "{message}");
}

#[test]
fn a_preview_draws_the_tree() {
    let space = mlp();
    let weights = weights(&space);
    let restriction: Restriction = "l0n2 & l0 | layers.1.W[sv 0-1] | layers.1.W[sv 3] | layers.2".parse().unwrap();
    let preview = restriction.resolve_at(&space, &weights).unwrap().preview(&space);
    let expected = "\
all           19 of 53  35.85 %
layers        19 of 53
  0            4 of 16
    W [3, 4]   3 of 12  ··▒█····█▒···▒▒·
    b [4]      1 of  4  ········████····
  1            3 of 25
    W [4, 5]   3 of 20  ~~~~~~~~~~~~~~~~  singular directions 0-1, 3
    b [5]      0 of  5  ················
  2           12 of 12
    W [5, 2]  10 of 10  ████████████████
    b [2]      2 of  2  ████████████████";
    assert_eq!(preview.to_string(), expected, "\n{preview}");
    let sum: usize = preview.rows.iter().filter(|row| row.tensor.is_some()).map(|row| row.n_selected).sum();
    assert_eq!((sum, preview.n_selected, preview.n_weights), (19, 19, 53));
}

#[test]
fn a_preview_of_a_name_with_many_dots_is_short() {
    let mut g = Graph::new();
    g.param(&vec!["a"; 5000].join("."), &[2]);
    let space = ParamSpace::of(&g);
    let preview = Restriction::full().resolve(&space).unwrap().preview(&space);
    assert_eq!(preview.rows.len(), 8);
}

/// Expressions over the parts of the transformer, always with parentheses.
fn expressions() -> impl Strategy<Value = String> {
    let parts = [
        "embed",
        "unembed",
        "attn",
        "mlp",
        "l0",
        "l1 attn",
        "l0h1",
        "l1h0-2",
        "l0g1",
        "l0n3",
        "l1n2-5",
        "*.W_*",
        "blocks.1.mlp.W_in",
        "blocks.0.attn",
    ];
    proptest::sample::select(parts.to_vec()).prop_map(str::to_owned).prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} & {b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a} | {b})")),
        ]
    })
}

/// The ranges of an expression; none where it selects nothing.
fn ranges(expression: &str, space: &ParamSpace) -> Vec<std::ops::Range<usize>> {
    match resolve(expression, space) {
        Ok(selection) => selection.ranges().to_vec(),
        Err(RestrictionError::NothingLeft { .. }) => Vec::new(),
        Err(error) => panic!("{expression}: {error}"),
    }
}

proptest! {
    #[test]
    fn expressions_obey_the_laws_of_sets(a in expressions(), b in expressions(), c in expressions()) {
        let space = transformer();
        let same = |left: &str, right: &str| {
            let (left, right) = (left.replace('A', &a).replace('B', &b).replace('C', &c), right.replace('A', &a).replace('B', &b).replace('C', &c));
            (ranges(&left, &space) == ranges(&right, &space)).then_some(()).ok_or(format!("{left} is not {right}"))
        };
        for (left, right) in [
            ("!(A | B)", "!A & !B"),
            ("!(A & B)", "!A | !B"),
            ("A | A", "A"),
            ("A & A", "A"),
            ("!!A", "A"),
            ("A & (B | C)", "A & B | A & C"),
            ("A | A & B", "A"),
            ("A & !B | A & B", "A"),
            ("A + B", "B | A"),
            ("full & A", "A"),
            ("A & !A", "!full"),
        ] {
            prop_assert_eq!(same(left, right), Ok(()));
        }
    }

    #[test]
    fn no_string_panics(text in ".*|[lhgn0-9a-z!&|()+ \\[\\]*.-]{0,30}") {
        for space in [transformer(), mlp()] {
            if let Ok(restriction) = text.parse::<Restriction>() {
                let _ = restriction.check(&space);
                if let Ok(selection) = restriction.resolve_at(&space, &weights(&space)) {
                    prop_assert!(selection.n_free() > 0);
                }
            }
        }
    }
}
