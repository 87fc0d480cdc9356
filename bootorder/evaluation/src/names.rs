//! How machines are called: by function, by theme or by ordinary words.

use fastrand::Rng;

const THEMES: [&[&str]; 3] = [
    &[
        "zeus", "hera", "apollo", "athena", "hermes", "ares", "artemis", "hades", "demeter",
        "poseidon", "dionysus", "hestia", "kronos", "rhea", "atlas", "helios", "selene", "eos",
        "nike", "pan", "iris", "themis", "leto", "maia", "triton", "orion", "castor", "pollux",
        "hector", "ajax", "priam", "paris", "helena", "circe", "medea", "jason", "argo", "theseus",
        "minos", "daedalus", "icarus", "perseus",
    ],
    &[
        "oak", "birch", "maple", "cedar", "willow", "elm", "ash", "pine", "larch", "beech",
        "alder", "hazel", "holly", "juniper", "laurel", "linden", "poplar", "rowan", "spruce",
        "sycamore", "yew", "aspen", "cypress", "fir", "hawthorn", "hemlock", "hickory", "ivy",
        "magnolia", "olive", "palm", "plum", "pear", "cherry", "quince", "rose", "sage", "thyme",
        "mint", "fern", "moss", "heather",
    ],
    &[
        "lyon", "nantes", "brest", "lille", "metz", "nancy", "dijon", "tours", "reims", "rouen",
        "caen", "nice", "toulon", "nimes", "pau", "albi", "agen", "auch", "tarbes", "foix", "gap",
        "vienne", "annecy", "bourges", "blois", "chartres", "dreux", "evreux", "laon", "sedan",
        "verdun", "colmar", "dole", "macon", "autun", "sens", "troyes", "vichy", "riom", "thiers",
        "moulins", "nevers",
    ],
];

const WORDS: &[&str] = &[
    "data", "mail", "main", "archive", "store", "work", "office", "core", "build", "shop", "back",
    "front", "test", "old", "new", "server", "gateway", "master", "files", "home", "root", "local",
    "public", "node", "central", "primary", "report", "stock", "paper", "print", "point", "alpha",
    "beta", "green", "blue", "red", "north", "south", "east", "west", "left", "right",
];

/// Gives out names without repeating one.
pub struct Namer {
    pool: Vec<String>,
    by_function: bool,
    dashed: bool,
    used: Vec<String>,
}

impl Namer {
    /// `style` below the first share names by function, below the second by theme.
    pub fn new(rng: &mut Rng, function: f64, theme: f64) -> Self {
        let style = rng.f64();
        let words = if style < function + theme {
            THEMES[rng.usize(..THEMES.len())]
        } else {
            WORDS
        };
        let mut pool: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        rng.shuffle(&mut pool);
        Self {
            pool,
            by_function: style < function,
            dashed: rng.f64() < 0.2,
            used: Vec::new(),
        }
    }

    /// A name for a machine of that function ("db").
    pub fn next(&mut self, function: &str) -> String {
        let name = match (self.by_function, self.pool.pop()) {
            (false, Some(word)) => word,
            _ => self.numbered(function),
        };
        self.used.push(name.clone());
        name
    }

    fn numbered(&self, function: &str) -> String {
        let form = |number: usize| match self.dashed {
            true => format!("{function}-{number:02}"),
            false => format!("{function}{number}"),
        };
        (1..)
            .map(form)
            .find(|name| !self.used.contains(name))
            .unwrap_or_default()
    }
}

/// A domain as firms have them.
pub fn domain(rng: &mut Rng) -> String {
    let firms = [
        "acme",
        "northwind",
        "meyer",
        "helios-bau",
        "contoso",
        "initech",
        "kraftwerk",
        "praxis-weber",
    ];
    let tops = [
        "example",
        "lan",
        "internal",
        "corp.example.com",
        "intra.example.net",
        "local",
    ];
    format!(
        "{}.{}",
        firms[rng.usize(..firms.len())],
        tops[rng.usize(..tops.len())]
    )
}
