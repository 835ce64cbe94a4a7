//! A two-layer network: its loss, its gradient, one product with its Hessian, and the loss with a layer patched.
//!
//! `cargo run -p ontogeny-graph --example gradient`

use ontogeny_graph::{Gradient, Graph, Program, Purpose, Stream, Workspace};

#[expect(clippy::print_stdout, reason = "the numbers are this example's output")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut g = Graph::new();
    let x = g.input("x", &[8, 2]);
    let y = g.input("y", &[8, 1]);
    let hidden = g.linear("first", x, 4);
    let hidden = g.tanh(hidden);
    g.named(hidden, "hidden");
    let prediction = g.linear("second", hidden, 1);
    let loss = g.mean_squared_error(prediction, y);
    g.named(loss, "loss");

    // H·v for the second layer's weights: derivatives are nodes, so the product is one more output.
    let weights = g.find("second.W")?;
    let direction = g.input("direction", &[4, 1]);
    let curvature = g.hessian_vector(loss, &[weights], &[direction])?[0];
    let program = Program::compile(&g, &[("loss", loss), ("curvature", curvature)], Gradient::All(loss))?;

    let mut at = vec![0.0; program.space().len()];
    Stream::new(0, Purpose::Initialization, 0).normals(0, 0, &mut at);
    let data = Stream::new(0, Purpose::Data, 0);
    let mut workspace = Workspace::new(&program);
    data.normals(0, 0, workspace.floats_mut(&program, "x")?);
    data.normals(1, 0, workspace.floats_mut(&program, "y")?);
    workspace.floats_mut(&program, "direction")?.fill(1.0);
    program.run(&mut workspace, &at)?;
    println!("loss        {:?}", workspace.output(&program, "loss"));
    println!("curvature   {:?}", workspace.output(&program, "curvature"));
    for param in program.space().iter() {
        println!("d loss / d {:9} {:?}", param.name, &workspace.gradient(&program)[param.range.clone()]);
    }

    // The same network with every hidden activation at its mean over the batch.
    let mean = g.mean(hidden, &[0]);
    let mean = g.broadcast(mean, &[8, 4]);
    let patched = g.replace("hidden", mean)?;
    let loss = patched.find("loss")?;
    let program = Program::compile(&patched, &[("loss", loss)], Gradient::None)?;
    let mut workspace = Workspace::new(&program);
    data.normals(0, 0, workspace.floats_mut(&program, "x")?);
    data.normals(1, 0, workspace.floats_mut(&program, "y")?);
    program.run(&mut workspace, &at)?;
    println!("loss with the hidden layer at its mean {:?}", workspace.output(&program, "loss"));
    Ok(())
}
