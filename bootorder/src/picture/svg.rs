//! A picture without any other program: boxes in layers, read from left to right.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::layout::{BOX_HEIGHT, BOX_WIDTH, Layout, layout};
use crate::event::printable;
use crate::order::{Edge, Kind, Order};
use crate::text::duration;

const LONGEST_NAME: usize = 19;
const LEGEND_HEIGHT: f64 = 64.0;
const LEAST_WIDTH: f64 = 620.0;

/// Attributes carry the light colours for viewers without style sheets; the style sheet follows
/// the reader's choice of dark or light.
const STYLE: &str = "<style>
.back{fill:#ffffff}.box{fill:#f3f5f8;stroke:#4a5568}.name{fill:#1a202c}.small{fill:#4a5568}
.edge{stroke:#64748b}.head{fill:#64748b}.critical{stroke:#c2410c}.criticalhead{fill:#c2410c}.group{stroke:#2563eb}
@media (prefers-color-scheme:dark){
.back{fill:#15181e}.box{fill:#252b36;stroke:#94a3b8}.name{fill:#f1f5f9}.small{fill:#b6c2d2}
.edge{stroke:#8fa0b6}.head{fill:#8fa0b6}.critical{stroke:#fb923c}.criticalhead{fill:#fb923c}.group{stroke:#7ab0ff}
}</style>
";

impl Order {
    /// The dependency graph as SVG: hard solid, soft dashed, groups framed, the path that the
    /// end waits for highlighted. Transitively reduced for the eye.
    pub fn to_svg(&self) -> String {
        let index: BTreeMap<&str, usize> = self
            .plan
            .iter()
            .enumerate()
            .map(|(at, entry)| (entry.machine.as_str(), at))
            .collect();
        let ends = |edge: &Edge| {
            Some((
                *index.get(edge.before.as_str())?,
                *index.get(edge.after.as_str())?,
            ))
        };
        let edges: Vec<(&Edge, (usize, usize))> = self
            .reduced_edges()
            .into_iter()
            .filter_map(|edge| Some((edge, ends(edge)?)))
            .collect();
        let group_of = |name: &String| self.groups.iter().position(|g| g.members.contains(name));
        let groups: Vec<Option<usize>> = self
            .plan
            .iter()
            .map(|entry| group_of(&entry.machine))
            .collect();
        let ends: Vec<(usize, usize)> = edges.iter().map(|(_, ends)| *ends).collect();
        let layout = layout(&groups, &ends);
        let mut out = head(&layout);
        frames(&mut out, &layout, &groups);
        let mut lines: Vec<_> = edges.iter().zip(&layout.lines).collect();
        // The highlighted ones lie above the others.
        lines.sort_by_key(|((edge, _), _)| self.is_critical(&edge.before, &edge.after));
        for ((edge, _), points) in lines {
            self.line(&mut out, edge, points);
        }
        for (entry, at) in self.plan.iter().zip(&layout.boxes) {
            self.machine_box(&mut out, &entry.machine, *at);
        }
        self.legend(&mut out, &layout);
        out.push_str("</svg>\n");
        out
    }

    fn line(&self, out: &mut String, edge: &Edge, points: &[(f64, f64)]) {
        let critical = self.is_critical(&edge.before, &edge.after);
        let (class, color, width, head) = match critical {
            true => ("critical", "#c2410c", 3.0, "criticalhead"),
            false => ("edge", "#64748b", 1.4, "head"),
        };
        let dash = match edge.kind {
            Kind::Hard => "",
            Kind::Soft => " stroke-dasharray=\"7 5\"",
        };
        let title = format!(
            "{} after {}: {}, {:.2}, {}",
            edge.after,
            edge.before,
            edge.kind.word(),
            edge.confidence,
            edge.source.word()
        );
        let _ = writeln!(
            out,
            "<path class=\"{class}\" d=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"{dash}><title>{}</title></path>",
            curve(points),
            escaped(&title)
        );
        if let Some((x, y)) = points.last() {
            let _ = writeln!(
                out,
                "<path class=\"{head}\" d=\"M{x:.1} {y:.1}l-10 -5v10z\" fill=\"{color}\"/>"
            );
        }
    }

    fn machine_box(&self, out: &mut String, machine: &str, (x, y): (f64, f64)) {
        let critical = self
            .prediction
            .critical_path
            .iter()
            .any(|name| name == machine);
        let (class, color, width) = match critical && self.prediction.critical_path.len() > 1 {
            true => ("box critical", "#c2410c", 2.5),
            false => ("box", "#4a5568", 1.2),
        };
        let ready = match self.ready.get(machine) {
            Some(ready) => format!("ready after {}", duration(ready.median_s)),
            None => "ready after: unknown".to_owned(),
        };
        let middle = x + BOX_WIDTH / 2.0;
        let _ = writeln!(
            out,
            "<g><title>{}</title><rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"6\" fill=\"#f3f5f8\" stroke=\"{color}\" stroke-width=\"{width}\"/>\
<text class=\"name\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-weight=\"bold\" fill=\"#1a202c\">{}</text>\
<text class=\"small\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\" fill=\"#4a5568\">{}</text></g>",
            escaped(machine),
            y + 19.0,
            escaped(&short(machine)),
            y + 35.0,
            escaped(&ready)
        );
    }

    fn legend(&self, out: &mut String, layout: &Layout) {
        let y = layout.height;
        let sample = |x: f64, class: &str, color: &str, width: f64, dash: &str, word: &str| {
            format!(
                "<path class=\"{class}\" d=\"M{x} {y}h34\" stroke=\"{color}\" stroke-width=\"{width}\"{dash}/><text class=\"small\" x=\"{}\" y=\"{}\" font-size=\"12\" fill=\"#4a5568\">{word}</text>\n",
                x + 40.0,
                y + 4.0
            )
        };
        out.push_str(&sample(
            28.0,
            "edge",
            "#64748b",
            1.4,
            "",
            "hard: fails without",
        ));
        out.push_str(&sample(
            206.0,
            "edge",
            "#64748b",
            1.4,
            " stroke-dasharray=\"7 5\"",
            "soft: retries",
        ));
        out.push_str(&sample(
            346.0,
            "critical",
            "#c2410c",
            3.0,
            "",
            "the end waits for these",
        ));
        let prediction = match (
            self.prediction.rta_s,
            self.prediction.low_s,
            self.prediction.high_s,
        ) {
            (Some(rta), Some(low), Some(high)) => format!(
                "predicted until all are ready: {} ({} to {})",
                duration(rta),
                duration(low),
                duration(high)
            ),
            _ => "predicted until all are ready: unknown".to_owned(),
        };
        let _ = writeln!(
            out,
            "<text class=\"small\" x=\"28\" y=\"{}\" font-size=\"12\" fill=\"#4a5568\">{}</text>",
            y + 30.0,
            escaped(&prediction)
        );
    }
}

fn head(layout: &Layout) -> String {
    let (width, height) = (layout.width.max(LEAST_WIDTH), layout.height + LEGEND_HEIGHT);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"14\">\n<title>Boot order</title>\n{STYLE}<rect class=\"back\" width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    )
}

/// A frame around each group.
fn frames(out: &mut String, layout: &Layout, groups: &[Option<usize>]) {
    let mut corners: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for (group, at) in groups.iter().zip(&layout.boxes) {
        if let Some(group) = group {
            corners.entry(*group).or_default().push(*at);
        }
    }
    for boxes in corners.into_values() {
        let top = boxes.iter().map(|at| at.1).fold(f64::MAX, f64::min);
        let bottom = boxes.iter().map(|at| at.1).fold(0.0, f64::max) + BOX_HEIGHT;
        let left = boxes.iter().map(|at| at.0).fold(f64::MAX, f64::min);
        let _ = writeln!(
            out,
            "<rect class=\"group\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"10\" fill=\"none\" stroke=\"#2563eb\" stroke-width=\"1.6\"><title>start together</title></rect>",
            left - 7.0,
            top - 7.0,
            BOX_WIDTH + 14.0,
            bottom - top + 14.0
        );
    }
}

/// Horizontal at every point, so that lanes join smoothly.
fn curve(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    if let Some((x, y)) = points.first() {
        let _ = write!(path, "M{x:.1} {y:.1}");
    }
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let bend = (x1 - x0) / 2.0;
        let _ = write!(
            path,
            "C{:.1} {y0:.1} {:.1} {y1:.1} {x1:.1} {y1:.1}",
            x0 + bend,
            x1 - bend
        );
    }
    path
}

/// The middle of a long name gives way: numbers at its end tell machines apart.
fn short(name: &str) -> String {
    let name: Vec<char> = printable(name).chars().collect();
    if name.len() <= LONGEST_NAME {
        return name.into_iter().collect();
    }
    let tail = LONGEST_NAME / 2;
    let first: String = name[..LONGEST_NAME - tail - 1].iter().collect();
    let last: String = name[name.len() - tail..].iter().collect();
    format!("{first}…{last}")
}

/// Names come from guests: one line, nothing that XML or a reader would act on.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in printable(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::order::{PlanEntry, Source};

    fn chain(names: &[String]) -> Order {
        let entry = |name: &String| PlanEntry {
            machine: name.clone(),
            after: Vec::new(),
            evidence: Vec::new(),
            reasons: Vec::new(),
        };
        let edge = |pair: &[String], kind| Edge {
            before: pair[0].clone(),
            after: pair[1].clone(),
            kind,
            confidence: 0.9,
            source: Source::Logs,
            evidence: Vec::new(),
        };
        let mut edges: Vec<Edge> = names
            .windows(2)
            .map(|pair| edge(pair, Kind::Hard))
            .collect();
        edges.extend(
            names
                .windows(3)
                .map(|three| edge(&[three[0].clone(), three[2].clone()], Kind::Soft)),
        );
        Order {
            machines: names.to_vec(),
            plan: names.iter().map(entry).collect(),
            edges,
            ..Order::default()
        }
    }

    #[test]
    fn names_of_guests_stay_text() {
        let hostile = [
            "</text><script>alert(1)</script>",
            "a\"onload='x'",
            "b&c\u{1b}[31m\u{202e}",
        ];
        let svg = chain(&hostile.map(str::to_owned)).to_svg();
        for forbidden in ["<script", "onload='", "\u{1b}", "\u{202e}", "\"onload"] {
            assert!(!svg.contains(forbidden), "{forbidden:?} in {svg}");
        }
        assert_eq!(
            svg.matches("<title>").count(),
            svg.matches("</title>").count()
        );
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(short("machine-with-a-long-name-07"), "machine-w…g-name-07");
        assert_eq!(short("dir1"), "dir1");
    }

    #[test]
    fn two_hundred_machines_take_less_than_a_second() {
        let names: Vec<String> = (0..200).map(|n| format!("machine-{n}")).collect();
        let mut order = chain(&names);
        for hub in 0..8 {
            for at in (hub + 9..200).step_by(3) {
                let mut edge = order.edges[0].clone();
                (edge.before, edge.after) = (names[hub].clone(), names[at].clone());
                order.edges.push(edge);
            }
        }
        order
            .edges
            .retain(|edge| edge.before[8..].parse::<usize>().unwrap() % 7 < 4);
        let begun = Instant::now();
        let svg = order.to_svg();
        assert!(begun.elapsed().as_secs_f64() < 1.0, "{:?}", begun.elapsed());
        assert_eq!(svg.matches("class=\"name\"").count(), 200);
    }
}
