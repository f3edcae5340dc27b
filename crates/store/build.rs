//! Rebuilds the crate when a migration is added, for the macro only watches those it has seen.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
