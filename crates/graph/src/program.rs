//! Programs: a graph compiled for repeated execution, shared by workers that each own a [`Workspace`].

use std::sync::{Mutex, PoisonError};

use crate::graph::{DType, nearest};
use crate::isa::Isa;
use crate::kernels::Memory;
use crate::kernels::parts::Part;
use crate::params::ParamSpace;
use crate::plan::{Place, Plan, Step};
use crate::threads::Threads;

/// A compiled graph: immutable, shared between threads.
///
/// It is made by [`Program::compile`] (`compile.rs`); its [`std::fmt::Display`] lists the plan (`listing.rs`).
#[derive(Debug)]
pub struct Program {
    pub(crate) space: ParamSpace,
    pub(crate) plan: Plan,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<String>,
    pub(crate) scratch_len: usize,
}

#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
}

/// What one worker needs to execute a program: inputs, intermediate values and results. Executing allocates nothing.
#[derive(Debug)]
pub struct Workspace {
    kept: Aligned,
    transient: Aligned,
    scratch: Aligned,
    ids: Vec<i32>,
    threads: Threads,
}

/// Why an execution failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Weights of another network.
    #[error("expected {expected} weights, found {found}")]
    Weights {
        /// Parameters of the program.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// An input that does not exist or does not fit.
    #[error("input `{name}`: expected {expected}, found {found}")]
    Input {
        /// The input.
        name: String,
        /// What the program has.
        expected: String,
        /// What was given.
        found: String,
    },
    /// An id outside its table.
    #[error("id {id} is outside a table of {rows} rows, at {node}")]
    Id {
        /// The id.
        id: i32,
        /// Rows of the table, or classes.
        rows: usize,
        /// Where.
        node: String,
    },
}

impl Program {
    /// The parameters, in flat order.
    pub fn space(&self) -> &ParamSpace {
        &self.space
    }

    /// Names of the inputs, in the order in which they were declared.
    pub fn input_names(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|input| input.name.as_str())
    }

    /// Shape of an input, if there is one of this name.
    pub fn input_shape(&self, name: &str) -> Option<&[usize]> {
        self.inputs.iter().find(|input| input.name == name).map(|input| input.shape.as_slice())
    }

    /// Floating-point operations of one execution, a multiply-add counted as two.
    pub fn flops(&self) -> usize {
        self.plan.steps.iter().map(|step| step.flops).sum()
    }

    /// Bytes of memory a workspace of one thread takes.
    pub fn workspace_bytes(&self) -> usize {
        4 * (self.plan.n_kept + self.plan.n_transient + self.scratch_len + self.plan.n_ids)
    }

    /// Executes on the inputs in `workspace` and the flat `weights`.
    ///
    /// # Errors
    /// Weights of the wrong length, or an id outside its table.
    pub fn run(&self, workspace: &mut Workspace, weights: &[f32]) -> Result<(), RunError> {
        let execution = self.execution(workspace, weights)?;
        self.plan.steps.iter().try_for_each(|step| execution.run(step))
    }

    /// Executes again, step by step, and names the first value that is not finite, if any.
    ///
    /// # Errors
    /// As for [`Program::run`].
    pub fn first_non_finite(&self, workspace: &mut Workspace, weights: &[f32]) -> Result<Option<String>, RunError> {
        for param in self.space.iter() {
            if weights.get(param.range.clone()).is_some_and(|w| w.iter().any(|x| !x.is_finite())) {
                return Ok(Some(param.name.clone()));
            }
        }
        let execution = self.execution(workspace, weights)?;
        for step in &self.plan.steps {
            execution.run(step)?;
            // A mask holds −∞ on purpose; whatever follows from it is a probability of 0.
            if execution.memory.read(step.result, step.len).iter().any(|&x| x.is_nan() || x == f32::INFINITY) {
                return Ok(Some(step.label.clone()));
            }
        }
        Ok(None)
    }

    pub(crate) fn execution<'a>(
        &'a self,
        workspace: &'a mut Workspace,
        weights: &'a [f32],
    ) -> Result<Execution<'a>, RunError> {
        if weights.len() != self.space.len() {
            return Err(RunError::Weights { expected: self.space.len(), found: weights.len() });
        }
        workspace.assert_fits(self);
        let memory = Memory {
            buffers: &self.plan.buffers,
            weights: weights.as_ptr(),
            literals: self.plan.literals.as_ptr(),
            kept: workspace.kept.as_mut_slice().as_mut_ptr(),
            transient: workspace.transient.as_mut_slice().as_mut_ptr(),
            ids: workspace.ids.as_mut_ptr(),
            scratch: workspace.scratch.as_mut_slice().as_mut_ptr(),
            scratch_stride: self.scratch_stride(),
            isa: Isa::current(),
        };
        Ok(Execution { memory, threads: &workspace.threads })
    }

    /// Scratch memory of one thread, up to the cache line where the next one's begins.
    fn scratch_stride(&self) -> usize {
        self.scratch_len.next_multiple_of(16)
    }

    fn input_place(&self, name: &str, dtype: DType) -> Result<(Place, usize), RunError> {
        let found = self.inputs.iter().position(|input| input.name == name && input.dtype == dtype);
        let Some(at) = found else {
            let known: Vec<String> = self.inputs.iter().map(|input| input.name.clone()).collect();
            return Err(RunError::Input {
                name: name.to_owned(),
                expected: format!("one of the inputs {}", known.join(", ")),
                found: nearest(name, known.iter()).map_or("no such name".to_owned(), |n| {
                    format!(
                        "no such {} input; did you mean `{n}`?",
                        if dtype == DType::Ids { "integer" } else { "float" }
                    )
                }),
            });
        };
        Ok((self.plan.inputs[at], self.inputs[at].shape.iter().product()))
    }
}

/// A program at work on the memory of one workspace.
pub(crate) struct Execution<'a> {
    memory: Memory<'a>,
    threads: &'a Threads,
}

/// Below this, in nanoseconds of one thread, handing a part over costs too much of what it saves.
const WORTH_SHARING: usize = 20_000;
/// Parts a thread finds in a step that is much longer, so that none waits long for one that was held up.
const PARTS_OF_A_LONG_STEP: usize = 4;

impl Execution<'_> {
    pub(crate) fn run(&self, step: &Step) -> Result<(), RunError> {
        let n_threads = self.threads.n_at_work();
        if n_threads == 1 || step.cost_ns < WORTH_SHARING {
            return step.kernel.run(&self.memory, Part::WHOLE);
        }
        let is_long = step.cost_ns / n_threads > 10 * WORTH_SHARING;
        let of = if is_long { n_threads * PARTS_OF_A_LONG_STEP } else { n_threads };
        // Of several errors the first in order, which is the one that a single thread meets.
        let failure: Mutex<Option<(usize, RunError)>> = Mutex::new(None);
        self.threads.run(of, &|index, thread| {
            if let Err(error) = step.kernel.run(&self.memory.of_thread(thread), Part { index, of }) {
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                if failure.as_ref().is_none_or(|(known, _)| index < *known) {
                    *failure = Some((index, error));
                }
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, error)| Err(error))
    }
}

impl Workspace {
    /// Memory for one worker, which computes on its own thread.
    pub fn new(program: &Program) -> Self {
        Self {
            kept: Aligned::new(program.plan.n_kept),
            transient: Aligned::new(program.plan.n_transient),
            scratch: Aligned::new(program.scratch_stride()),
            ids: vec![0; program.plan.n_ids],
            threads: Threads::one(),
        }
    }

    /// Memory for one worker whose long steps are shared by `threads`; the bits are those of one thread.
    pub fn with_threads(program: &Program, threads: &Threads) -> Self {
        let mut workspace = Self::new(program);
        workspace.set_threads(program, threads);
        workspace
    }

    /// From now on `threads` share the long steps; inputs and results stay.
    pub fn set_threads(&mut self, program: &Program, threads: &Threads) {
        self.scratch = Aligned::new(program.scratch_stride() * threads.count());
        self.threads = threads.clone();
    }

    /// The elements of an integer input, to be filled.
    ///
    /// # Errors
    /// No such input of ids.
    pub fn ids_mut(&mut self, program: &Program, name: &str) -> Result<&mut [i32], RunError> {
        let (place, len) = program.input_place(name, DType::Ids)?;
        let start = program.plan.buffers[place.buffer].offset;
        Ok(&mut self.ids[start..start + len])
    }

    /// The elements of a float input, to be filled.
    ///
    /// # Errors
    /// No such input of floats.
    pub fn floats_mut(&mut self, program: &Program, name: &str) -> Result<&mut [f32], RunError> {
        let (place, len) = program.input_place(name, DType::Float)?;
        let start = program.plan.buffers[place.buffer].offset;
        Ok(&mut self.kept.as_mut_slice()[start..start + len])
    }

    /// The values of a named output after an execution; empty if the program has no such output.
    pub fn output(&self, program: &Program, name: &str) -> &[f32] {
        let Some(at) = program.outputs.iter().position(|own| own == name) else {
            return &[];
        };
        let (place, len) = program.plan.outputs[at];
        let start = program.plan.buffers[place.buffer].offset;
        &self.kept.as_slice()[start..start + len]
    }

    /// The flat gradient after an execution: the length of the parameter space, zero where it was not asked for.
    pub fn gradient(&self, program: &Program) -> &[f32] {
        let start = program.plan.buffers[program.plan.gradient.buffer].offset;
        &self.kept.as_slice()[start..start + program.space.len()]
    }

    /// The flat gradient after an execution, to be changed; the next execution writes it anew.
    pub fn gradient_mut(&mut self, program: &Program) -> &mut [f32] {
        let start = program.plan.buffers[program.plan.gradient.buffer].offset;
        &mut self.kept.as_mut_slice()[start..start + program.space.len()]
    }

    /// A workspace of another program would be read out of bounds.
    fn assert_fits(&self, program: &Program) {
        assert!(
            self.kept.len >= program.plan.n_kept
                && self.transient.len >= program.plan.n_transient
                && self.scratch.len >= program.scratch_stride() * self.threads.count()
                && self.ids.len() >= program.plan.n_ids,
            "a workspace serves only the program it was made for"
        );
    }
}

/// Floats that start at a cache line.
#[derive(Debug)]
struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

#[expect(unsafe_code, reason = "sees an array of cache lines as the floats it holds")]
impl Aligned {
    fn new(len: usize) -> Self {
        Self { lines: vec![Line([0.0; 16]); len.div_ceil(16)], len }
    }

    fn as_slice(&self) -> &[f32] {
        // SAFETY: `Line` is sixteen floats without padding, and `len` floats are there.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
