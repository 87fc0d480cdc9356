//! The console's files become part of the program: it is made again when they change.

fn main() {
    let built = std::path::Path::new("../console/dist");
    // A folder that is not there counts as changed each time.
    if let Err(error) = std::fs::create_dir_all(built) {
        println!(
            "cargo::warning=`{}` cannot be made: {error}",
            built.display()
        );
    }
    println!("cargo::rerun-if-changed={}", built.display());
    println!("cargo::rerun-if-changed=build.rs");
}
