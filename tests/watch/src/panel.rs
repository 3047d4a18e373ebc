//! A panel of a dashboard: what it asks, and how it shows the answer.

use serde_json::{Value, json};

/// How a panel shows its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// One figure, with the line it came by.
    Stat,
    /// Lines over time.
    Lines,
    /// Areas over time, one above the other.
    Stack,
    /// Bars, one a series, of the newest values.
    Bars,
    /// A row a series, of the newest values.
    Table,
}

/// What one query asks, and how a line of its answer is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// PromQL, with the dashboard's variables.
    pub expr: String,
    /// A template over labels.
    pub legend: String,
}

/// A panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Stands above it.
    pub title: String,
    /// What it asks.
    pub queries: Vec<Query>,
    /// How it shows the answer.
    pub look: Look,
    /// Of 24 columns.
    pub width: u32,
    help: String,
    unit: &'static str,
    limits: Vec<(f64, &'static str)>,
    soft_max: Option<f64>,
    link: Option<(&'static str, &'static str)>,
    interval: &'static str,
}

/// The colours of limits.
pub const YELLOW: &str = "yellow";
/// Somebody should look.
pub const ORANGE: &str = "orange";
/// Somebody must act.
pub const RED: &str = "red";

impl Panel {
    fn new(look: Look, width: u32, title: &str) -> Self {
        let (title, help) = (title.to_owned(), String::new());
        let (unit, interval) = ("short", "30s");
        Self {
            title,
            queries: Vec::new(),
            look,
            width,
            help,
            unit,
            limits: Vec::new(),
            soft_max: None,
            link: None,
            interval,
        }
    }

    /// One figure.
    pub fn stat(title: &str, expr: &str) -> Self {
        Self::new(Look::Stat, 3, title).query(expr, "")
    }

    /// Lines over time.
    pub fn lines(title: &str) -> Self {
        Self::new(Look::Lines, 12, title)
    }

    /// Areas over time.
    pub fn stack(title: &str) -> Self {
        Self::new(Look::Stack, 12, title)
    }

    /// Bars of the newest values.
    pub fn bars(title: &str) -> Self {
        Self::new(Look::Bars, 12, title)
    }

    /// A table of the newest values.
    pub fn table(title: &str) -> Self {
        Self::new(Look::Table, 24, title)
    }

    /// Asks one thing more.
    #[must_use]
    pub fn query(mut self, expr: &str, legend: &str) -> Self {
        self.queries.push(Query { expr: expr.to_owned(), legend: legend.to_owned() });
        self
    }

    /// Grafana's word for the unit.
    #[must_use]
    pub const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// Values from which on a colour holds, rising. On lines they are drawn.
    #[must_use]
    pub fn limits(mut self, limits: &[(f64, &'static str)]) -> Self {
        self.limits = limits.to_vec();
        self
    }

    /// How far the axis reaches at least, so that limits are seen.
    #[must_use]
    pub const fn reaching(mut self, soft_max: f64) -> Self {
        self.soft_max = Some(soft_max);
        self
    }

    /// Where a click leads: a title, and a path with Grafana's variables.
    #[must_use]
    pub const fn to(mut self, title: &'static str, path: &'static str) -> Self {
        self.link = Some((title, path));
        self
    }

    /// What the figure means, where its title does not say.
    #[must_use]
    pub fn help(mut self, help: &str) -> Self {
        help.clone_into(&mut self.help);
        self
    }

    /// Columns, of 24.
    #[must_use]
    pub const fn wide(mut self, width: u32) -> Self {
        self.width = width;
        self
    }

    /// The least step: for figures that are counted over an hour or more.
    #[must_use]
    pub const fn slow(mut self) -> Self {
        self.interval = "2m";
        self
    }

    /// Rows of the grid.
    pub const fn height(&self) -> u32 {
        match self.look {
            Look::Stat => 4,
            Look::Lines | Look::Stack | Look::Bars | Look::Table => 8,
        }
    }

    /// Grafana's JSON, at a place of the grid.
    pub fn json(&self, id: u32, x: u32, y: u32) -> Value {
        let is_instant = matches!(self.look, Look::Bars | Look::Table);
        let targets = self.queries.iter().zip('A'..='Z').map(|(query, letter)| {
            json!({
                "refId": letter, "expr": query.expr, "legendFormat": query.legend, "datasource": datasource(),
                "instant": is_instant, "range": !is_instant, "format": if self.look == Look::Table { "table" } else { "time_series" },
            })
        });
        let mut panel = json!({
            "id": id, "title": self.title, "description": self.help, "type": self.kind(), "datasource": datasource(),
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height() },
            "interval": self.interval, "targets": targets.collect::<Vec<_>>(),
            "fieldConfig": { "defaults": self.defaults(), "overrides": [] }, "options": self.options(),
        });
        if self.look == Look::Table {
            let hidden = json!({ "Time": true, "__name__": true, "alertstate": true, "instance": true, "job": true });
            panel["transformations"] = json!([{ "id": "organize", "options": { "excludeByName": hidden } }]);
        }
        panel
    }

    const fn kind(&self) -> &'static str {
        match self.look {
            Look::Stat => "stat",
            Look::Lines | Look::Stack => "timeseries",
            Look::Bars => "bargauge",
            Look::Table => "table",
        }
    }

    fn defaults(&self) -> Value {
        let steps = self.limits.iter().map(|(from, colour)| json!({ "value": from, "color": colour }));
        let steps: Vec<Value> = std::iter::once(json!({ "value": null, "color": "green" })).chain(steps).collect();
        let mut defaults = json!({ "unit": self.unit, "min": 0, "thresholds": { "mode": "absolute", "steps": steps } });
        if let Some((title, url)) = self.link {
            defaults["links"] = json!([{ "title": title, "url": url }]);
        }
        match self.look {
            Look::Stat | Look::Bars => defaults["color"] = json!({ "mode": "thresholds" }),
            Look::Table => {}
            Look::Lines | Look::Stack => {
                let is_stack = self.look == Look::Stack;
                let lines = if self.limits.is_empty() { "off" } else { "dashed" };
                defaults["color"] = json!({ "mode": "palette-classic" });
                defaults["custom"] = json!({
                    "drawStyle": "line", "lineWidth": 1, "fillOpacity": if is_stack { 30 } else { 5 }, "showPoints": "never",
                    "spanNulls": false, "stacking": { "mode": if is_stack { "normal" } else { "none" } },
                    "thresholdsStyle": { "mode": lines },
                });
                if let Some(max) = self.soft_max {
                    defaults["custom"]["axisSoftMax"] = json!(max);
                }
            }
        }
        defaults
    }

    fn options(&self) -> Value {
        let newest = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        match self.look {
            Look::Stat => json!({
                "reduceOptions": newest, "colorMode": "background", "graphMode": "area", "textMode": "value",
                "justifyMode": "center", "orientation": "auto",
            }),
            Look::Lines | Look::Stack => json!({
                "legend": { "displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"], "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Look::Bars => json!({ "reduceOptions": newest, "displayMode": "basic", "orientation": "horizontal" }),
            Look::Table => json!({ "showHeader": true }),
        }
    }
}

/// The data source that the dashboard's variable chooses.
pub fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}
