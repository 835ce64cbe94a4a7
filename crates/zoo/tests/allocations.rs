//! Updates of a training take no memory from the system.

#![expect(unsafe_code, reason = "an allocator that counts must implement an unsafe trait")]
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_zoo::{Model, NetworkConfig, TaskConfig, TrainConfig, TrainEvent, Trainer};
use serde_json::{Value, json};

/// The system's allocator, which counts what the thread asks of it.
struct Counting;

thread_local! {
    static N_ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and no update to count for.
    let _ = N_ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations during the updates of a training but the first.
fn allocations_of_updates(task: &Value, network: &Value, settings: &Value) -> usize {
    let task = serde_json::from_value::<TaskConfig>(task.clone()).unwrap().prepare(0, Path::new("")).unwrap();
    let network: NetworkConfig = serde_json::from_value(network.clone()).unwrap();
    let model = Model::new(network, task.interface).unwrap();
    let mut train = json!({"learning_rate": 1e-3, "batch": "full", "steps": 8, "checkpoints": []});
    for (key, value) in settings.as_object().unwrap() {
        train[key] = value.clone();
    }
    let config: TrainConfig = serde_json::from_value(train).unwrap();
    let mut trainer = Trainer::new(&model, &task, &config, 0).unwrap();
    let mut state = trainer.start(model.initial_weights(0)).unwrap();
    let (mut before, mut after) = (0, 0);
    let outcome = trainer.run(&mut state, |event| {
        if let TrainEvent::Step { step, .. } = event {
            after = N_ALLOCATIONS.get();
            before = if step == 0 { after } else { before };
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    });
    outcome.unwrap();
    after - before
}

#[test]
fn updates_allocate_nothing() {
    let transformer = json!({
        "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "d_mlp": 8, "activation": "silu", "gated_mlp": true,
        "normalization": "rms_norm", "positions": "rotary", "key_value_heads": 1,
    });
    let perceptron = json!({"kind": "modular_mlp", "d_embed": 4, "hidden": 6, "activation": "gelu"});
    let residues = json!({"kind": "modular_arithmetic", "p": 5, "operation": "add", "train_fraction": 0.8});
    for network in [transformer, perceptron] {
        for settings in [
            json!({"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine", "clip_norm": 0.1}),
            json!({"optimizer": "adamw", "weight_decay": 0.1, "no_decay": ["bias", "embed"], "temperature": 1e-3}),
            json!({"optimizer": "rmsprop", "freeze": ["embed"], "stop_below": {"loss": 0.0}}),
            json!({"optimizer": "natural_gradient", "damping": 1.0}),
            json!({"optimizer": "entropy_sgd", "entropy": {"scope": 0.1, "steps": 3}}),
        ] {
            assert_eq!(allocations_of_updates(&residues, &network, &settings), 0, "{settings} of {network}");
        }
    }
    let digits = json!({"kind": "images", "source": "digits", "train_examples": 1000});
    let layers = json!({"kind": "mlp", "sizes": [64, 16, 10], "activation": "relu"});
    for norm in ["linf", "l2"] {
        let attack = json!({"norm": norm, "radius": 0.1, "steps": 3, "bounds": [0, 1]});
        // Eight batches of the first epoch's ten.
        for batch in [json!("full"), json!(100)] {
            let settings = json!({"optimizer": "sgd", "batch": batch, "adversarial": attack});
            assert_eq!(allocations_of_updates(&digits, &layers, &settings), 0, "{settings}");
        }
    }
    // The counter does count.
    let before = N_ALLOCATIONS.get();
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert_eq!(N_ALLOCATIONS.get(), before + 1);
}
