//! For Graphviz.

use crate::event::printable;
use crate::order::{Kind, Order};

impl Order {
    /// The dependency graph for Graphviz, transitively reduced for the eye; groups are boxed.
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph order {\n  rankdir=LR;\n  node [shape=box];\n");
        for machine in &self.machines {
            out.push_str(&format!("  {};\n", name(machine)));
        }
        for (number, group) in self.groups.iter().enumerate() {
            out.push_str(&format!(
                "  subgraph cluster_{number} {{\n    label={};\n",
                name(&format!("together: {}", group.role))
            ));
            for member in &group.members {
                out.push_str(&format!("    {};\n", name(member)));
            }
            out.push_str("  }\n");
        }
        for edge in self.reduced_edges() {
            let style = match edge.kind {
                Kind::Hard => "solid",
                Kind::Soft => "dashed",
            };
            let width = if self.is_critical(&edge.before, &edge.after) {
                3
            } else {
                1
            };
            out.push_str(&format!(
                "  {} -> {} [style={style}, penwidth={width}, label=\"{} {:.2}\"];\n",
                name(&edge.before),
                name(&edge.after),
                edge.source.word(),
                edge.confidence
            ));
        }
        out.push_str("}\n");
        out
    }

    /// Whether the end of a recovery waits for these two, one after the other.
    pub(crate) fn is_critical(&self, before: &str, after: &str) -> bool {
        let mut pairs = self.prediction.critical_path.windows(2);
        pairs.any(|pair| pair[0] == before && pair[1] == after)
    }
}

fn name(name: &str) -> String {
    let escaped = printable(name).replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}
