//! Runs the methods over the sites and prints one table.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use lifeboat_bootorder::{Edge, read_directory};

use crate::makespan::recover;
use crate::methods::{Answer, Case, Method, ask};
use crate::metrics::{Score, interval, reliability, score, split};
use crate::parameters::Parameters;
use crate::truth::Truth;
use crate::write_site::{Request as Wanted, Written, generate};

/// What to run.
pub struct Request {
    pub seeds: Vec<u64>,
    pub boots: Vec<usize>,
    pub methods: Vec<Method>,
    pub verbose: bool,
}

/// Prints the table.
pub fn run(request: &Request, p: &Parameters) -> Result<()> {
    for boots in &request.boots {
        let mut scores: Vec<Vec<Score>> = vec![Vec::new(); request.methods.len()];
        let mut traced = 0;
        for seed in &request.seeds {
            let folder = tempfile::tempdir()?;
            let wanted = Wanted {
                seed: *seed,
                machines: None,
                boots: *boots,
                padding: 0,
            };
            let written = generate(&wanted, folder.path(), p)?;
            traced += written.traced.len();
            one_site(request, &written, folder.path(), &mut scores, p)?;
        }
        print(*boots, request, &scores, traced);
    }
    Ok(())
}

fn one_site(
    request: &Request,
    written: &Written,
    folder: &Path,
    scores: &mut [Vec<Score>],
    p: &Parameters,
) -> Result<()> {
    let folders = read_directory(folder)?;
    let truth = Truth::of(&written.site);
    let case = Case {
        folders: &folders,
        truth: &truth,
        starts: &written.starts,
    };
    let best = recover(&written.site, &ask(Method::Oracle, &case).after, p);
    for (method, scores) in request.methods.iter().zip(scores) {
        let answer = ask(*method, &case);
        let mut result = score(&answer, &truth);
        let recovery = recover(&written.site, &answer.after, p);
        result.fallen = recovery.fallen;
        result.makespans.push(recovery.makespan_s / best.makespan_s);
        if request.verbose && *method == Method::Full {
            explain(written, &answer, &truth, &result);
        }
        scores.push(result);
    }
    Ok(())
}

fn print(boots: usize, request: &Request, scores: &[Vec<Score>], traced: usize) {
    let sites = request.seeds.len();
    println!(
        "\n### {boots} {}, {sites} sites\n",
        if boots == 1 { "boot" } else { "boots" }
    );
    let edges = scores.first().map_or(0, |scores| sum(scores).true_edges);
    println!(
        "{traced} of {edges} true edges ({:.3}) left any trace in a file or a log.\n",
        traced as f64 / edges.max(1) as f64
    );
    println!(
        "| method | precision | recall | F1 [95 %] | closure F1 | service F1 | direction | enforced | kind | makespan | fallen | calibration error |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (method, scores) in request.methods.iter().zip(scores) {
        println!("{}", row(*method, scores));
    }
    if let Some(scores) = request
        .methods
        .iter()
        .position(|m| *m == Method::Full)
        .and_then(|i| scores.get(i))
    {
        print_reliability(&sum(scores));
    }
}

fn sum(scores: &[Score]) -> Score {
    let mut sum = Score::default();
    scores.iter().for_each(|score| sum.add(score));
    sum
}

fn row(method: Method, scores: &[Score]) -> String {
    let total = sum(scores);
    let (low, high) = interval(scores, |score| score.direct.f1());
    let (_, error) = reliability(&total.calibration);
    let services = match total.has_services {
        true => format!("{:.3}", total.services.f1()),
        false => "-".to_owned(),
    };
    let kind = total
        .kind()
        .map_or_else(|| "-".to_owned(), |kind| format!("{kind:.3}"));
    let probable = matches!(method, Method::Full | Method::Without(_) | Method::Only(_));
    let error = if probable {
        format!("{error:.3}")
    } else {
        "-".to_owned()
    };
    format!(
        "| {} | {:.3} | {:.3} | {:.3} [{low:.3}, {high:.3}] | {:.3} | {services} | {:.3} | {:.3} | {kind} | {:.2} | {:.1} | {error} |",
        method.name(),
        total.direct.precision(),
        total.direct.recall(),
        total.direct.f1(),
        total.closure.f1(),
        total.direction(),
        total.validity(),
        total.makespan(),
        total.fallen as f64 / scores.len().max(1) as f64,
    )
}

fn print_reliability(total: &Score) {
    let (bins, _) = reliability(&total.calibration);
    println!("\n| confidence | edges | mean confidence | true |\n|---|---|---|---|");
    for (number, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.edges > 0) {
        println!(
            "| {:.1}-{:.1} | {} | {:.3} | {:.3} |",
            number as f64 / 10.0,
            (number + 1) as f64 / 10.0,
            bin.edges,
            bin.confidence,
            bin.right
        );
    }
}

/// Shows an engineer what was missed and what was made up.
fn explain(written: &Written, answer: &Answer, truth: &Truth, result: &Score) {
    let site = &written.site;
    println!(
        "\nsite {} ({} machines, {} records): F1 {:.3}, makespan {:.2}, fallen {}",
        site.seed,
        site.machines.len(),
        written.records,
        result.direct.f1(),
        result.makespan(),
        result.fallen
    );
    let found: BTreeMap<_, _> = answer
        .edges
        .iter()
        .map(|(pair, confidence)| (pair, confidence))
        .collect();
    for pair in truth
        .machines
        .keys()
        .filter(|pair| !found.contains_key(pair))
    {
        println!("  missed {} before {}", pair.0, pair.1);
        for need in site.needs.iter().filter(|n| {
            site.machines[n.server.0].name == pair.0 && site.machines[n.client.0].name == pair.1
        }) {
            let machine = &site.machines[need.client.0];
            println!(
                "    {:?} of {:?} named {}, {:?}, {:?}, configured {}, logged {}, {:?} {:?}",
                need.link,
                site.program(need.client).kind,
                site.written(need),
                need.reference,
                need.handling,
                need.configured,
                need.logged,
                machine.log,
                machine.distribution
            );
        }
    }
    for edge in &answer.explained {
        let pair = (edge.before.clone(), edge.after.clone());
        if truth.machines.contains_key(&pair) || truth.neutral.contains(&pair) {
            continue;
        }
        println!(
            "  false {} before {} ({:.2}, {:?}, {:?})",
            pair.0, pair.1, edge.confidence, edge.kind, edge.source
        );
        for fact in edge.evidence.iter().take(4) {
            println!(
                "    {}:{} {} {}",
                fact.machine, fact.file, fact.record, fact.text
            );
        }
    }
    for edge in misnamed(answer, truth) {
        println!(
            "  service edge that is not meant: {} before {} ({:.2})",
            edge.before, edge.after, edge.confidence
        );
    }
}

/// Service edges between the right machines that name the wrong services.
fn misnamed<'a>(answer: &'a Answer, truth: &'a Truth) -> impl Iterator<Item = &'a Edge> {
    answer.services.iter().flatten().filter(|edge| {
        let (before, needed) = split(&edge.before);
        let (after, needing) = split(&edge.after);
        truth
            .machines
            .contains_key(&(before.to_owned(), after.to_owned()))
            && !truth.services.iter().any(|real| {
                real.before == before && real.after == after && real.is_meant(needed, needing)
            })
    })
}
