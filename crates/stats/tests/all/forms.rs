//! The search for forms on trajectories with planted corners and without any.

use crate::common::trajectories::{Course, trajectory};
use crate::common::{Random, Share, in_parallel};
use ontogeny_stats::{Form, FormSettings, forms};

/// The corners of a simulated trajectory (where, by how much), and what was found.
type Searched = (Vec<(f64, f64)>, Vec<Form>);

fn searched(course: Course, n_curves: u64) -> Vec<Searched> {
    in_parallel(n_curves, |seed| {
        let simulated = trajectory(course, 100, 0.05, &mut Random::new(7_000_000 + seed)).expect("it moves");
        let settings = FormSettings { n_draws: 99, seed, ..FormSettings::smoothed(0.1, 0.1) };
        (simulated.corners, forms(&simulated.x, &simulated.scores, &settings).expect("long enough"))
    })
}

#[test]
fn sharp_corners_are_candidates_and_exceed_those_of_random_walks() {
    let (mut listed, mut significant) = (vec![], vec![]);
    for (corners, found) in searched(Course::Corners, 60) {
        assert!(found.len() <= 6 && found.windows(2).all(|f| f[0].turn >= f[1].turn));
        for (at, _) in corners.into_iter().filter(|(_, turn)| *turn >= 2.0) {
            // Corners are two apart.
            let near = |f: &&Form| (f.x - at).abs() <= 0.5;
            listed.push(found.iter().any(|f| near(&f)));
            significant.push(found.iter().filter(near).any(|f| f.p_walk <= 0.05));
        }
    }
    let (listed, significant) = (Share::of(&listed), Share::of(&significant));
    assert!(listed.n >= 10, "corners this sharp are not rare: {listed}");
    assert!(listed.n_found * 10 >= listed.n * 7 && significant.n_found * 10 >= significant.n * 7, "{significant}");
}

#[test]
fn trajectories_without_forms_raise_no_more_alarms_than_the_level() {
    let mut all = Share::default();
    for course in Course::NULL {
        let found = searched(course, 30);
        all += Share::of(&found.iter().map(|(_, f)| f.iter().any(|f| f.p_walk <= 0.05)).collect::<Vec<_>>());
    }
    let bound = 0.05 + 2.33 * (0.05 * 0.95 / all.n as f64).sqrt();
    assert!(all.n_found as f64 <= bound * all.n as f64, "{all}");
}
