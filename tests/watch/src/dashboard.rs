//! A dashboard: rows of panels, variables, links, annotations.

use crate::panel::{Panel, datasource};
use serde_json::{Value, json};

/// Columns of the grid.
const COLUMNS: u32 = 24;

/// What a variable may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// One value.
    One,
    /// Any number of them, all of them at first.
    Many,
}

/// A variable: the values of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name, and the label's.
    pub name: &'static str,
    /// The series whose label it is.
    pub of: &'static str,
    /// How many may be chosen.
    pub choice: Choice,
}

impl Variable {
    /// Any number of the label's values.
    pub const fn many(name: &'static str, of: &'static str) -> Self {
        Self { name, of, choice: Choice::Many }
    }

    /// One of the label's values.
    pub const fn one(name: &'static str, of: &'static str) -> Self {
        Self { name, of, choice: Choice::One }
    }

    fn json(&self) -> Value {
        let query = format!("label_values({}, {})", self.of, self.name);
        let is_many = self.choice == Choice::Many;
        let mut variable = json!({
            "type": "query", "name": self.name, "label": self.name, "datasource": datasource(), "definition": query,
            "query": { "query": query, "refId": "variable" }, "refresh": 2, "sort": 1, "hide": 0,
            "multi": is_many, "includeAll": is_many,
        });
        if is_many {
            variable["allValue"] = json!(".*");
            variable["current"] = json!({ "selected": true, "text": "All", "value": "$__all" });
        }
        variable
    }
}

/// A row: a heading, and panels below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The heading; without one the panels stand by themselves.
    pub title: &'static str,
    /// From left to right, then below.
    pub panels: Vec<Panel>,
}

/// A dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct Dashboard {
    /// Part of its address, and the name of its file.
    pub uid: &'static str,
    /// Its name.
    pub title: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What can be chosen above it.
    pub variables: Vec<Variable>,
    /// What it shows.
    pub rows: Vec<Row>,
}

impl Dashboard {
    /// Every panel.
    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.rows.iter().flat_map(|row| &row.panels)
    }

    /// Grafana's JSON.
    pub fn json(&self) -> Value {
        let source = json!({
            "type": "datasource", "name": "datasource", "label": "data source", "query": "prometheus", "hide": 0,
            "refresh": 1, "multi": false, "includeAll": false,
        });
        let variables: Vec<Value> = std::iter::once(source).chain(self.variables.iter().map(Variable::json)).collect();
        let others = json!({
            "type": "dashboards", "title": "Quell", "tags": ["quell"], "asDropdown": true, "keepTime": true,
            "includeVars": true, "icon": "external link", "tooltip": "", "targetBlank": false, "url": "",
        });
        json!({
            "uid": self.uid, "title": self.title, "description": self.description, "tags": ["quell"],
            "schemaVersion": 39, "editable": true, "graphTooltip": 1, "timezone": "browser", "refresh": "30s",
            "time": { "from": "now-6h", "to": "now" }, "templating": { "list": variables }, "links": [others],
            "annotations": { "list": annotations() }, "panels": self.placed(),
        })
    }

    /// The text of its file.
    pub fn file(&self) -> String {
        format!("{:#}\n", self.json())
    }

    fn placed(&self) -> Vec<Value> {
        let mut placed = Vec::new();
        let (mut id, mut y) = (0, 0);
        let mut next = || {
            id += 1;
            id
        };
        for row in &self.rows {
            if !row.title.is_empty() {
                let place = json!({ "x": 0, "y": y, "w": COLUMNS, "h": 1 });
                placed.push(json!({ "id": next(), "type": "row", "title": row.title, "collapsed": false, "gridPos": place, "panels": [] }));
                y += 1;
            }
            let (mut x, mut height) = (0, 0);
            for panel in &row.panels {
                if x + panel.width > COLUMNS {
                    (x, y, height) = (0, y + height, 0);
                }
                placed.push(panel.json(next(), x, y));
                x += panel.width;
                height = height.max(panel.height());
            }
            y += height;
        }
        placed
    }
}

/// What is drawn across the lines of every dashboard: name, colour, query, text.
pub const ANNOTATIONS: [[&str; 4]; 2] = [
    [
        "Alerts",
        "red",
        "ALERTS{alertname=~\"Quell.*\", alertstate=\"firing\", severity=~\"critical|warning\"}",
        "{{alertname}} ({{severity}})",
    ],
    ["Policy changes", "blue", "max(changes(quell_policy_version[2m])) > 0", "another policy came into force"],
];

/// The query stands twice: there are releases of Grafana that ask what `target` holds and skip an annotation without one in
/// silence (`standardAnnotationSupport`), and older ones that read `expr` and `step`.
fn annotations() -> Vec<Value> {
    const STEP: &str = "60s";
    let one = |[name, colour, expr, text]: [&str; 4]| {
        json!({
            "name": name, "datasource": datasource(), "enable": true, "hide": false, "iconColor": colour, "expr": expr,
            "step": STEP, "target": { "refId": "Anno", "expr": expr, "interval": STEP }, "titleFormat": text,
            "textFormat": "", "tagKeys": "provider,tenant,account,mailbox,stage",
        })
    };
    ANNOTATIONS.map(one).to_vec()
}
