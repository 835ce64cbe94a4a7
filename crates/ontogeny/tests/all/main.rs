//! The program, called as users call it.
//!
//! One program for all of them: linking one takes as long as a quick test, and a slow test leaves the other core to others.

mod bad_input;
mod bench;
mod calibrate;
mod command_line;
mod common;
mod disk;
mod doctor;
mod explain;
mod hostile;
mod import;
mod interruption;
mod known_networks;
mod look;
mod new;
mod observables;
mod observables_circuits;
mod observables_curvature;
mod observables_interventions;
mod observables_pairs;
mod own_network;
mod published_curves;
mod published_stages;
mod stages;
mod study;
mod sweep;
mod workers;
