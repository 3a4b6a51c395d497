//! What came out, line by line.

use std::fmt::Display;

use comfy_table::Table;

/// A list of facts and of claims that hold or don't.
pub(super) struct Verdict(pub(super) Vec<Line>);

pub(super) struct Line {
    what: &'static str,
    value: String,
    holds: Option<bool>,
}

impl Line {
    pub(super) fn fact(what: &'static str, value: &dyn Display) -> Self {
        Self { what, value: value.to_string(), holds: None }
    }

    pub(super) fn claim(what: &'static str, value: &dyn Display, holds: bool) -> Self {
        Self { what, value: value.to_string(), holds: Some(holds) }
    }
}

impl Verdict {
    pub(super) fn holds(&self) -> bool {
        self.broken().next().is_none()
    }

    /// The claims that don't hold.
    pub(super) fn broken(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter(|line| line.holds == Some(false)).map(|line| line.what)
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
        for line in &self.0 {
            let verdict = match line.holds {
                Some(true) => "holds",
                Some(false) => "BROKEN",
                None => "",
            };
            table.add_row([line.what, &line.value, verdict]);
        }
        table
    }
}
