//! The regret of a policy in a gridworld as a graph: exact, and differentiable by the weights.

use ontogeny_graph::{Graph, Node};

use super::{Environment, Gridworld, optimal_return};
use crate::MlpConfig;

impl Gridworld {
    /// Optimal minus expected return of the policy that `network` gives, a scalar.
    ///
    /// With π(a|s) the policy, P the matrix Σₐ π(a|s)·[a leads from s to s', which is not the goal] and r(s) the probability
    /// to reach the goal at once, v₁ = r and vₖ₊₁ = r + γ·P·vₖ are the expected returns with k moves left (Sutton & Barto 2018,
    /// 4.1); the expected return is that of the start with all moves left. All states of the grid are one batch.
    pub(super) fn regret(&self, network: &MlpConfig) -> (Graph, Node) {
        let (n, n_actions) = (self.inputs(), self.actions());
        // How far each action moves from each cell; to no cell at all where the episode ends.
        let (mut moves, mut rewards) = (Vec::new(), Vec::new());
        for (action, cell) in (0..n_actions).flat_map(|action| (0..n).map(move |cell| (action, cell))) {
            // A gridworld has one outcome of every action.
            let outcome = self.outcomes(&cell, action).remove(0);
            moves.push(outcome.next.map_or(-1.0, |next| next as f64) - cell as f64);
            rewards.push(outcome.reward);
        }
        let mut g = Graph::new();
        let (row, column) = (g.iota(&[n, n], 0), g.iota(&[n, n], 1));
        let observations = g.equal(row, column);
        let logits = network.build(&mut g, observations);
        let policy = g.softmax(logits);
        let policy = g.transpose(policy);
        let rewards = constants(&mut g, &rewards, &[n_actions, n]);
        let at_once = g.mul(policy, rewards);
        let at_once = g.sum(at_once, &[0]);
        let from = g.iota(&[n_actions, n], 1);
        let moves = constants(&mut g, &moves, &[n_actions, n]);
        let to = g.add(from, moves);
        let to = g.reshape(to, &[n_actions, n, 1]);
        let to = g.broadcast(to, &[n_actions, n, n]);
        let cells = g.iota(&[n_actions, n, n], 2);
        let leads = g.equal(to, cells);
        let chosen = g.reshape(policy, &[n_actions, n, 1]);
        let chosen = g.broadcast(chosen, &[n_actions, n, n]);
        let leads = g.mul(chosen, leads);
        let transitions = g.sum(leads, &[0]);
        let mut value = at_once;
        for _ in 1..self.horizon() {
            let later = g.einsum("sn,n->s", transitions, value);
            let later = g.scale(later, self.discount());
            value = g.add(at_once, later);
        }
        let expected = g.select_index(value, 0, self.start());
        let optimal = g.constant(optimal_return(self));
        let regret = g.sub(optimal, expected);
        (g, regret)
    }
}

/// A node of these values, made of its runs of equal ones.
fn constants(g: &mut Graph, values: &[f64], shape: &[usize]) -> Node {
    let runs = values.chunk_by(|a, b| a == b);
    let parts: Vec<Node> = runs
        .map(|run| {
            let value = g.constant(run[0]);
            g.broadcast(value, &[run.len()])
        })
        .collect();
    let all = if let [one] = parts[..] { one } else { g.concat(&parts, 0) };
    g.reshape(all, shape)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ontogeny_graph::{ParamSpace, Value};
    use serde_json::json;

    use super::*;
    use crate::{Model, NetworkConfig, TaskEnvironment, random_return};

    #[test]
    fn the_regret_is_optimal_minus_expected_return() {
        // . . # G
        // S # # .
        // . . . .
        let settings = json!({
            "size": [4, 3], "walls": [[2, 0], [1, 1], [2, 1]], "start": [0, 1], "goal": [3, 0], "discount": 0.9,
            "max_moves": 20,
        });
        let grid = Gridworld::new(serde_json::from_value(settings).unwrap()).unwrap();
        let best = optimal_return(&grid);
        let environment = TaskEnvironment::Gridworld(grid.clone());
        let network = json!({ "kind": "mlp", "sizes": [12, 6, 4], "activation": "tanh" });
        let network: NetworkConfig = serde_json::from_value(network).unwrap();
        let model = Model::new(network, environment.interface()).unwrap();
        let (graph, regret) = environment.regret(&model).unwrap();
        assert_eq!(&ParamSpace::of(&graph), model.space());
        let evaluate = |weights: &[f32]| {
            let values: BTreeMap<String, Value<f64>> = model
                .tensors(weights)
                .map(|(p, w)| (p.name.clone(), Value::Float(w.iter().map(|&w| f64::from(w)).collect())))
                .collect();
            graph.interpret(&values, &[regret]).unwrap()[0][0]
        };
        // Without weights every move is taken alike.
        let flat = vec![0.0; model.space().len()];
        assert!((evaluate(&flat) - (best - random_return(&grid))).abs() < 1e-14);
        for seed in 0..3 {
            // Far from the flat policy.
            let weights: Vec<f32> = model.initial_weights(seed).iter().map(|w| 4.0 * w).collect();
            let expected = best - environment.expected_return(&model, &weights).unwrap();
            let found = evaluate(&weights);
            // The policy's logits are of 24 bits, of the order of 4: each probability is right to 10⁻⁶ of it, and twenty of
            // them make a way.
            assert!((found - expected).abs() < 2e-5 * best && found > 0.0, "{found} {expected}");
        }
    }
}
