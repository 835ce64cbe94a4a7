//! A small network trained on two moons: the largest eigenvalues of its Hessian and of its Gauss–Newton matrix, both
//! traces, and how the eigenvalues are spread.
//!
//! `cargo run -p ontogeny-graph --example curvature`

use ontogeny_graph::{
    Adam, Curvature, CurvatureProgram, Gradient, Graph, Program, Purpose, SpectralDensity, Stream, Threads, Workspace,
    adam, hutchinson_trace, top_eigenpairs,
};

const N: usize = 256;

/// Points of two half circles with noise, and which of them each belongs to.
fn two_moons(points: &mut [f32], classes: &mut [i32]) {
    let stream = Stream::new(0, Purpose::Data, 0);
    let mut noise = vec![0.0; 2 * N];
    stream.normals(0, 0, &mut noise);
    for (i, (point, class)) in points.chunks_exact_mut(2).zip(classes).enumerate() {
        *class = (i % 2) as i32;
        let angle = std::f32::consts::PI * stream.uniform(1, i as u32) as f32;
        let (x, y) = if i % 2 == 0 { (angle.cos(), angle.sin()) } else { (1.0 - angle.cos(), 0.5 - angle.sin()) };
        point.copy_from_slice(&[x + 0.2 * noise[2 * i], y + 0.2 * noise[2 * i + 1]]);
    }
}

#[expect(clippy::print_stdout, reason = "the numbers are this example's output")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut g = Graph::new();
    let x = g.input("x", &[N, 2]);
    let targets = g.input_ids("targets", &[N]);
    let hidden = g.linear("first", x, 16);
    let hidden = g.tanh(hidden);
    let logits = g.linear("second", hidden, 2);
    let losses = g.cross_entropy(logits, targets);
    let loss = g.mean_all(losses);

    let program = Program::compile(&g, &[("loss", loss)], Gradient::All(loss))?;
    let (mut points, mut classes) = (vec![0.0; 2 * N], vec![0; N]);
    two_moons(&mut points, &mut classes);
    let mut workspace = Workspace::new(&program);
    workspace.floats_mut(&program, "x")?.copy_from_slice(&points);
    workspace.ids_mut(&program, "targets")?.copy_from_slice(&classes);
    let n = program.space().len();
    let mut weights = vec![0.0; n];
    Stream::new(0, Purpose::Initialization, 0).normals(0, 0, &mut weights);
    let (mut first, mut second) = (vec![0.0; n], vec![0.0; n]);
    let settings = Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, decoupled: false };
    for step in 0..500 {
        program.run(&mut workspace, &weights)?;
        adam(
            &mut weights,
            workspace.gradient(&program),
            [&mut first, &mut second],
            step,
            0.01,
            &settings,
            &Threads::one(),
        );
    }
    println!("{n} parameters, loss {:.4}", workspace.output(&program, "loss")[0]);

    let probes = Stream::new(0, Purpose::Probe, 0);
    let mut start = vec![0.0; n];
    probes.normals(u32::MAX, 0, &mut start);
    for (name, curvature) in
        [("Hessian", Curvature::Hessian { loss }), ("Gauss-Newton", Curvature::GaussNewton { outputs: logits, loss })]
    {
        let product = CurvatureProgram::compile(&g, curvature)?;
        let mut workspace = Workspace::new(product.program());
        workspace.floats_mut(product.program(), "x")?.copy_from_slice(&points);
        workspace.ids_mut(product.program(), "targets")?.copy_from_slice(&classes);
        let mut apply = |v: &[f32], out: &mut [f32]| product.multiply(&mut workspace, &weights, v, out);

        println!("{name}");
        for pair in top_eigenpairs(&start, 5, 60, 1e-4, &mut apply)? {
            println!("  eigenvalue {:10.6}  residual {:.1e}", pair.value, pair.residual);
        }
        let trace = hutchinson_trace(n, 100, &probes, &mut apply)?;
        println!("  trace      {:10.6}  standard error {:.6}", trace.mean, trace.standard_error);
        let density = SpectralDensity::estimate(n, 20, 40, &probes, &mut apply)?;
        let small = density.mean_of(|value| f64::from(value.abs() < 1e-3));
        println!("  share of |eigenvalues| below 0.001: {:.2} ± {:.2}", small.mean, small.standard_error);
        println!("  eigenvalues from {:.4} to {:.4}", density.range().0, density.range().1);
    }
    Ok(())
}
