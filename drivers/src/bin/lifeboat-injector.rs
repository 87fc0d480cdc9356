//! The only process of the injection micro-VM.

fn main() {
    if std::process::id() != 1 {
        eprintln!("lifeboat-injector runs as the first process of Lifeboat's micro-VM only");
        std::process::exit(2);
    }
    lifeboat_drivers::init::main()
}
