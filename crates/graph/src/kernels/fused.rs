//! Fused groups: a little register machine that runs block by block, with every register in cache. Registers hold
//! elements, or one value for each row of them: sums, maxima and softmaxes of rows run where their rows are.

use std::ops::Range;

use super::parts::Part;
use super::reduce::reduce_rows;
use super::rows::{log_softmax, softmax};
use super::{MAX_RANK, Memory, Span, reach};
use crate::graph::{Binary, Unary};
use crate::isa::multiversion;
use crate::math;
use crate::plan::Place;

/// Elements of a block: a register is 2 KiB, and a dozen of them fit a first-level cache. A longer row is a block.
pub(crate) const BLOCK: usize = 512;

/// How a group reads an operand.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    /// Element i is the group's element i.
    Dense(Place),
    /// One value for all.
    Scalar(Place),
    /// (extent, stride) of each collapsed axis, outermost first.
    Strided(Place, Vec<(usize, usize)>),
}

/// Registers are numbered: operands first, then one for each instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Instruction {
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    Select(usize, usize, usize),
    Row(RowOp, usize),
}

/// What is done to whole rows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RowOp {
    /// To one value a row.
    Sum,
    Max,
    Softmax,
    LogSoftmax,
    /// From one value a row to a row of it.
    Spread,
}

/// What a register holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Elements,
    /// One value for each row.
    Rows,
}

/// A group ready to run.
#[derive(Debug)]
pub(crate) struct Fused {
    operands: Vec<Operand>,
    instructions: Vec<Instruction>,
    /// What each register holds.
    holds: Vec<Holds>,
    /// Block register of each operand and instruction.
    slots: Vec<usize>,
    n_slots: usize,
    result: Place,
    n_rows: usize,
    /// Elements of a row; 1 where no instruction is about rows.
    width: usize,
    /// The result lies where an operand lies: it must not be written before the block is read.
    in_place: bool,
}

impl Fused {
    /// `holds` is what each operand holds; of what an instruction makes, it follows.
    pub(crate) fn new(
        operands: Vec<Operand>,
        mut holds: Vec<Holds>,
        instructions: Vec<Instruction>,
        result: Place,
        (n_rows, width): (usize, usize),
    ) -> Self {
        for instruction in &instructions {
            holds.push(match *instruction {
                Instruction::Unary(_, a) | Instruction::Binary(_, a, _) | Instruction::Select(_, a, _) => holds[a],
                Instruction::Row(RowOp::Sum | RowOp::Max, _) => Holds::Rows,
                Instruction::Row(RowOp::Softmax | RowOp::LogSoftmax | RowOp::Spread, _) => Holds::Elements,
            });
        }
        let (slots, n_slots) = assign_slots(&operands, &instructions);
        Self { operands, instructions, holds, slots, n_slots, result, n_rows, width, in_place: false }
    }

    /// Floats of register memory the group needs.
    pub(crate) fn register_len(&self) -> usize {
        self.n_slots * self.slot_len()
    }

    fn slot_len(&self) -> usize {
        BLOCK.max(self.width.next_multiple_of(16))
    }

    /// Values of a register over so many rows.
    fn len_of(&self, register: usize, n_rows: usize) -> usize {
        match self.holds[register] {
            Holds::Elements => n_rows * self.width,
            Holds::Rows => n_rows,
        }
    }

    pub(crate) fn result(&self) -> Place {
        self.result
    }

    pub(crate) fn set_in_place(&mut self) {
        self.in_place = true;
    }

    /// Operands that lie as the result does, of as many values.
    pub(crate) fn dense_operands(&self) -> impl Iterator<Item = Place> {
        let holds = self.holds.last().copied();
        self.operands.iter().zip(&self.holds).filter_map(move |(operand, own)| match operand {
            Operand::Dense(place) if Some(*own) == holds => Some(*place),
            _ => None,
        })
    }

    /// Whether `place` is the only operand in memory for which `shares` holds.
    pub(crate) fn reads_once(&self, place: Place, shares: impl Fn(Place) -> bool) -> bool {
        self.spans()
            .iter()
            .filter(|span| !span.written)
            .map(|span| span.place)
            .filter(|&other| shares(other))
            .eq([place])
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let of_operands = self.operands.iter().enumerate().map(|(register, operand)| match operand {
            Operand::Dense(place) => Span { place: *place, len: self.len_of(register, self.n_rows), written: false },
            Operand::Scalar(place) => Span { place: *place, len: 1, written: false },
            Operand::Strided(place, dims) => Span { place: *place, len: reach(dims.iter().copied()), written: false },
        });
        let len = self.len_of(self.holds.len() - 1, self.n_rows);
        of_operands.chain([Span { place: self.result, len, written: true }]).collect()
    }

    pub(crate) fn is_in_place(&self) -> bool {
        self.in_place
    }

    #[expect(unsafe_code, reason = "registers are disjoint blocks of the workspace")]
    pub(crate) fn run(&self, memory: &Memory<'_>, part: Part) {
        let slot_len = self.slot_len();
        // SAFETY: the workspace holds `register_len` floats for every group of its program.
        let registers = |slot: usize| unsafe { memory.scratch.add(slot * slot_len) };
        for (operand, &slot) in self.operands.iter().zip(&self.slots) {
            if let Operand::Scalar(place) = operand {
                let value = memory.read(*place, 1)[0];
                let len = slot_len.min(self.n_rows * self.width);
                // SAFETY: one block of registers.
                unsafe { std::slice::from_raw_parts_mut(registers(slot), len) }.fill(value);
            }
        }
        let rows_at_once = (BLOCK / self.width).max(1);
        let Range { mut start, end } = part.range(self.n_rows, rows_at_once);
        while start < end {
            let n = rows_at_once.min(end - start);
            self.run_block(memory, start, n, &registers);
            start += n;
        }
    }

    /// Runs `n` rows from `start` on.
    #[expect(unsafe_code, reason = "registers are disjoint blocks of the workspace")]
    fn run_block(&self, memory: &Memory<'_>, start: usize, n: usize, registers: &dyn Fn(usize) -> *mut f32) {
        for (register, (operand, &slot)) in self.operands.iter().zip(&self.slots).enumerate() {
            if let Operand::Strided(place, dims) = operand {
                // SAFETY: one block of registers, which no operand shares.
                let block = unsafe { std::slice::from_raw_parts_mut(registers(slot), self.len_of(register, n)) };
                load(memory.isa, memory.at(*place), dims, self.len_of(register, start), block);
            }
        }
        let source = |register: usize| {
            let len = self.len_of(register, n);
            let address = match self.operands.get(register) {
                Some(Operand::Dense(place)) => memory.read(place.plus(self.len_of(register, start)), len).as_ptr(),
                _ => registers(self.slots[register]).cast_const(),
            };
            // SAFETY: `len` values of an operand from this block on, or of one register.
            unsafe { std::slice::from_raw_parts(address, len) }
        };
        let last = self.instructions.len() - 1;
        let result = self.result.plus(self.len_of(self.operands.len() + last, start));
        for (i, instruction) in self.instructions.iter().enumerate() {
            let register = self.operands.len() + i;
            let len = self.len_of(register, n);
            let address = if i == last && !self.in_place {
                memory.write(result, len).as_mut_ptr()
            } else {
                registers(self.slots[register])
            };
            // SAFETY: a register that no live value shares (see `assign_slots`), or the result, which is no operand.
            let to = unsafe { std::slice::from_raw_parts_mut(address, len) };
            match *instruction {
                Instruction::Unary(op, a) => unary(memory.isa, op, source(a), to),
                Instruction::Binary(op, a, b) => binary(memory.isa, op, source(a), source(b), to),
                Instruction::Select(c, a, b) => {
                    select(memory.isa, source(c), source(a), source(b), to);
                }
                Instruction::Row(RowOp::Sum, a) => reduce_rows(memory.isa, true, source(a), self.width, to),
                Instruction::Row(RowOp::Max, a) => reduce_rows(memory.isa, false, source(a), self.width, to),
                Instruction::Row(RowOp::Softmax, a) => softmax(memory.isa, source(a), self.width, to),
                Instruction::Row(RowOp::LogSoftmax, a) => log_softmax(memory.isa, source(a), self.width, to),
                Instruction::Row(RowOp::Spread, a) => {
                    for (row, &value) in to.chunks_exact_mut(self.width).zip(source(a)) {
                        row.fill(value);
                    }
                }
            }
        }
        if self.in_place {
            let register = self.operands.len() + last;
            let block = registers(self.slots[register]);
            // SAFETY: every operand of this block has been read; registers and results are distinct memory.
            unsafe { std::ptr::copy_nonoverlapping(block, memory.at(result), self.len_of(register, n)) };
        }
    }
}

/// Blocks for operands that need one and for results, reused after their last reader. A result never shares a block with
/// an operand of its own instruction.
fn assign_slots(operands: &[Operand], instructions: &[Instruction]) -> (Vec<usize>, usize) {
    let mut slots = vec![0; operands.len() + instructions.len()];
    let mut n_slots = 0;
    for (slot, operand) in slots.iter_mut().zip(operands) {
        if !matches!(operand, Operand::Dense(_)) {
            *slot = n_slots;
            n_slots += 1;
        }
    }
    let reads = |instruction: &Instruction| match *instruction {
        Instruction::Unary(_, a) | Instruction::Row(_, a) => [a, a, a],
        Instruction::Binary(_, a, b) => [a, b, b],
        Instruction::Select(c, a, b) => [c, a, b],
    };
    let last_reader = |register: usize| instructions.iter().rposition(|i| reads(i).contains(&register));
    let mut free: Vec<usize> = Vec::new();
    for (i, instruction) in instructions.iter().enumerate() {
        slots[operands.len() + i] = free.pop().unwrap_or_else(|| {
            n_slots += 1;
            n_slots - 1
        });
        let mut finished: Vec<usize> = reads(instruction)
            .into_iter()
            .filter(|&register| register >= operands.len() && last_reader(register) == Some(i))
            .map(|register| slots[register])
            .collect();
        finished.sort_unstable();
        finished.dedup();
        free.extend(finished);
    }
    (slots, n_slots)
}

/// Gathers `block.len()` elements from element `start` on of a strided operand.
#[expect(unsafe_code, reason = "strided reads inside an operand")]
fn load(isa: crate::isa::Isa, from: *const f32, dims: &[(usize, usize)], start: usize, block: &mut [f32]) {
    let rank = dims.len();
    debug_assert!(rank <= MAX_RANK);
    let mut index = [0; MAX_RANK];
    let mut rest = start;
    let mut offset = 0;
    for axis in (0..rank).rev() {
        let (extent, stride) = dims[axis];
        index[axis] = rest % extent;
        rest /= extent;
        offset += index[axis] * stride;
    }
    let (extent, stride) = dims[rank - 1];
    let mut done = 0;
    while done < block.len() {
        let n = (extent - index[rank - 1]).min(block.len() - done);
        let row = &mut block[done..done + n];
        // SAFETY: the run of n elements lies inside the operand.
        let first = unsafe { from.add(offset) };
        match stride {
            // SAFETY: as above.
            0 => row.fill(unsafe { *first }),
            // SAFETY: as above.
            1 => row.copy_from_slice(unsafe { std::slice::from_raw_parts(first, n) }),
            _ => strided_row(isa, first, stride, row),
        }
        done += n;
        index[rank - 1] += n;
        offset += n * stride;
        let mut axis = rank - 1;
        while index[axis] == dims[axis].0 && axis > 0 {
            offset -= index[axis] * dims[axis].1;
            index[axis] = 0;
            axis -= 1;
            index[axis] += 1;
            offset += dims[axis].1;
        }
    }
}

multiversion! {
    #[expect(unsafe_code, reason = "strided reads inside an operand")]
    fn strided_row(first: *const f32, stride: usize, row: &mut [f32]) {
        for (i, x) in row.iter_mut().enumerate() {
            // SAFETY: the caller's run of `row.len()` elements lies inside the operand.
            *x = unsafe { *first.add(i * stride) };
        }
    }
}

multiversion! {
    fn unary(op: Unary, a: &[f32], to: &mut [f32]) {
        let n = to.len();
        let a = &a[..n];
        macro_rules! each {
            ($f:expr) => {
                for i in 0..n {
                    to[i] = $f(a[i]);
                }
            };
        }
        match op {
            Unary::Neg => each!(|x: f32| -x),
            Unary::Exp => each!(math::exp),
            Unary::Log => each!(math::ln),
            Unary::Log1p => each!(math::ln_1p),
            Unary::Sqrt => each!(f32::sqrt),
            Unary::Recip => each!(|x: f32| 1.0 / x),
            Unary::Tanh => each!(math::tanh),
            Unary::Erf => each!(math::erf),
            Unary::Sigmoid => each!(math::sigmoid),
            Unary::NormalCdf => each!(math::normal_cdf),
            Unary::NormalCdfTanh => each!(math::normal_cdf_tanh),
            // Written so that NaN stays NaN.
            Unary::Relu => each!(|x: f32| if x < 0.0 { 0.0 } else { x }),
            Unary::Step => each!(|x: f32| if x > 0.0 { 1.0 } else { 0.0 }),
            Unary::Abs => each!(f32::abs),
            Unary::Sign => each!(|x: f32| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { 0.0 }),
        }
    }
}

multiversion! {
    fn binary(op: Binary, a: &[f32], b: &[f32], to: &mut [f32]) {
        let n = to.len();
        let (a, b) = (&a[..n], &b[..n]);
        macro_rules! each {
            ($f:expr) => {
                for i in 0..n {
                    to[i] = $f(a[i], b[i]);
                }
            };
        }
        match op {
            Binary::Add => each!(|x: f32, y: f32| x + y),
            Binary::Sub => each!(|x: f32, y: f32| x - y),
            Binary::Mul => each!(|x: f32, y: f32| x * y),
            Binary::Div => each!(|x: f32, y: f32| x / y),
            Binary::Greater => each!(|x: f32, y: f32| if x > y { 1.0 } else { 0.0 }),
            Binary::Equal => each!(|x: f32, y: f32| if x == y { 1.0 } else { 0.0 }),
        }
    }
}

multiversion! {
    fn select(c: &[f32], a: &[f32], b: &[f32], to: &mut [f32]) {
        let n = to.len();
        let (c, a, b) = (&c[..n], &a[..n], &b[..n]);
        for i in 0..n {
            to[i] = if c[i] == 0.0 { b[i] } else { a[i] };
        }
    }
}
