//! The examples of the reference method, exactly.

use std::collections::BTreeMap;

use lifeboat_bootorder::{
    Cell, Dependency, Initialization, Options, Threshold, Unit, chains, correlation, dependencies,
    machine_order, reference_method,
};

const NAMES: [&str; 10] = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"];
const TABLE_2: [&[f64]; 10] = [
    &[],
    &[-0.30],
    &[-0.31, 0.85],
    &[0.93, -0.19, -0.16],
    &[0.87, -0.46, -0.28, 0.89],
    &[-0.24, 0.99, 0.86, -0.16, -0.41],
    &[-0.27, 0.94, 0.82, -0.13, -0.42, 0.95],
    &[0.93, -0.19, -0.15, 0.55, 0.89, -0.16, -0.13],
    &[-0.44, 0.83, 0.96, -0.28, -0.42, 0.84, 0.84, -0.28],
    &[0.89, -0.35, -0.21, 0.84, 0.93, -0.31, -0.38, 0.84, -0.38],
];

fn table_2() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (row, values) in TABLE_2.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            cells.push(Cell {
                row: NAMES[row].to_owned(),
                column: NAMES[column].to_owned(),
                value: *value,
                samples: 1,
            });
        }
    }
    cells
}

#[test]
fn table_2_with_threshold_0_7() {
    let found = dependencies(&table_2(), &Threshold::default());
    let mut pairs: Vec<String> = found
        .iter()
        .map(|d| format!("{}<-{}", d.after, d.before))
        .collect();
    pairs.sort();
    let expected = "C<-B D<-A E<-A E<-D F<-B F<-C G<-B G<-C G<-F H<-A H<-E I<-B I<-C I<-F I<-G J<-A J<-D J<-E J<-H";
    assert_eq!(pairs.join(" "), expected);
    let names = NAMES.map(str::to_owned);
    let chains: Vec<String> = chains(&names, &found)
        .iter()
        .map(|chain| chain.concat())
        .collect();
    assert_eq!(chains, ["ADEHJ", "BCFGI"]);
}

#[test]
fn figure_4_boots_the_machines_330_320_310() {
    let hosts = [
        ("411", "310"),
        ("421", "320"),
        ("431", "320"),
        ("422", "330"),
        ("432", "330"),
    ];
    let hosts: BTreeMap<String, String> = hosts
        .iter()
        .map(|(s, m)| ((*s).to_owned(), (*m).to_owned()))
        .collect();
    let arrows = [
        ("422", "421"),
        ("432", "431"),
        ("421", "411"),
        ("431", "411"),
    ];
    let arrows: Vec<Dependency> = arrows
        .iter()
        .map(|(before, after)| Dependency {
            before: (*before).to_owned(),
            after: (*after).to_owned(),
            correlation: 1.0,
        })
        .collect();
    assert_eq!(machine_order(&hosts, &arrows), ["330", "320", "310"]);
}

/// Times with their weights.
type Weighted = Vec<(f64, f64)>;

/// Five initialisations of A after B: once together, four times ten minutes later.
fn five() -> (Weighted, Weighted) {
    let b: Vec<(f64, f64)> = (0..5).map(|day| (f64::from(day) * 86_400.0, 1.0)).collect();
    let a = b
        .iter()
        .enumerate()
        .map(|(n, (t, w))| (t + if n == 0 { 0.0 } else { 600.0 }, *w));
    (a.collect(), b)
}

#[test]
fn five_initialisations_correlate_with_0_8() {
    let (a, b) = five();
    let (value, samples) = correlation(&a, &b, &Options::default());
    assert!((value - 0.8).abs() < 1e-12, "{value}");
    assert_eq!(samples, 5);
    let (reverse, _) = correlation(&b, &a, &Options::default());
    assert!(reverse < 1e-12, "{reverse}");
}

fn initializations() -> Vec<Initialization> {
    let (a, b) = five();
    let one = |service: &str, machine: &str, time_s: f64| Initialization {
        service: service.to_owned(),
        machine: machine.to_owned(),
        time_s,
        failed: false,
    };
    let a = a.iter().map(|(t, _)| one("A", "web1", *t));
    a.chain(b.iter().map(|(t, _)| one("B", "dir1", *t)))
        .collect()
}

#[test]
fn the_whole_method_finds_that_a_depends_on_b() {
    let found = reference_method(&initializations(), &Options::default());
    assert_eq!(found.services, ["B", "A"]);
    assert_eq!(found.machines, ["dir1", "web1"]);
    assert_eq!(found.dependencies.len(), 1);
}

#[test]
fn the_physical_boot_variant_orders_machines_directly() {
    let options = Options {
        unit: Unit::Machine,
        ..Options::default()
    };
    let found = reference_method(&initializations(), &options);
    assert_eq!(found.services, ["dir1", "web1"]);
}

#[test]
fn failed_initialisations_count_less() {
    let mut all = initializations();
    // The simultaneous one failed: it now weighs half, so 4 of 4.5.
    all[0].failed = true;
    let found = reference_method(&all, &Options::default());
    assert!((found.dependencies[0].correlation - 4.0 / 4.5).abs() < 1e-12);
}
