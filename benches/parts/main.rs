//! The parts that a transition is made of, each beside a baseline: the least work that could do
//! the same. Run with `cargo bench --all-features`, or with `-- --test` to run each once.

mod flow;
mod rows;
mod text;
mod wire;

use std::io::Write;

use criterion::Criterion;
use onward::bench::Machine;

fn main() {
    let dir = std::env::temp_dir();
    let machine = Machine::of(&dir);
    let (cpu, cores, filesystem) = (machine.cpu, machine.cores, machine.filesystem);
    writeln!(
        std::io::stderr(),
        "{cpu}, {cores} cores, {filesystem}; appends: fdatasync after every chunk"
    )
    .expect("standard error takes a line");
    let mut criterion = Criterion::default().configure_from_args();
    flow::bench(&mut criterion);
    text::bench(&mut criterion);
    rows::bench(&mut criterion);
    wire::bench(&mut criterion, &dir);
    criterion.final_summary();
}
