//! One plot as SVG: lines or bars over two axes. Colours come from the page's style sheet.

use super::html::escape;
use super::scale::{Kind, Scale, short};
use std::fmt::Write;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
/// Room for the labels of the axes.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;
/// Colours there are; more lines than these begin again, dashed.
const COLOURS: usize = 8;
/// Points with a mark of their own: more of them are a line.
const MARKED: usize = 12;
/// The height of a bar with its label.
const BAR: f64 = 40.0;

/// A line by its points.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) points: Vec<[f64; 2]>,
}

/// Lines over two axes.
pub(super) struct Plot {
    pub(super) title: String,
    /// What the axes are of, and how they are divided.
    pub(super) x: (String, Kind),
    pub(super) y: (String, Kind),
    pub(super) lines: Vec<Line>,
}

impl Plot {
    /// The figure, with its title and legend.
    pub(super) fn render(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let x = Scale::over(self.x.1, all().map(|point| point[0]));
        let y = Scale::over(self.y.1, all().map(|point| point[1]));
        let across = |value| LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
        let up = |value| HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = String::new();
        for tick in y.ticks() {
            let (at, label) = (up(tick), y.label(tick));
            _ = write!(
                svg,
                r#"<line class="grid" x1="{LEFT}" y1="{at:.1}" x2="{:.1}" y2="{at:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"#,
                WIDTH - RIGHT,
                LEFT - 7.0,
                at + 4.0
            );
        }
        for tick in x.ticks() {
            let (at, label, foot) = (across(tick), x.label(tick), HEIGHT - BOTTOM);
            _ = write!(
                svg,
                r#"<line class="axis" x1="{at:.1}" y1="{foot}" x2="{at:.1}" y2="{}"/><text class="tick" x="{at:.1}" y="{}" text-anchor="middle">{label}</text>"#,
                foot + 4.0,
                foot + 17.0
            );
        }
        _ = write!(
            svg,
            r#"<line class="axis" x1="{LEFT}" y1="{0}" x2="{1}" y2="{0}"/><text class="name" x="{2:.1}" y="{3}" text-anchor="middle">{4}</text>"#,
            HEIGHT - BOTTOM,
            WIDTH - RIGHT,
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 6.0,
            escape(&self.x.0)
        );
        for (at, line) in self.lines.iter().enumerate() {
            let place = |point: &[f64; 2]| format!("{:.1},{:.1}", across(point[0]), up(point[1]));
            let places: Vec<String> = line.points.iter().map(place).collect();
            let class = class(at);
            _ = write!(svg, r#"<polyline class="line {class}" points="{}"/>"#, places.join(" "));
            if line.points.len() > MARKED || self.x.1 == Kind::Percentile {
                continue;
            }
            for point in &line.points {
                _ = write!(
                    svg,
                    r#"<circle class="mark {class}" cx="{:.1}" cy="{:.1}" r="4"><title>{}: {}, {}</title></circle>"#,
                    across(point[0]),
                    up(point[1]),
                    escape(&line.label),
                    short(point[0]),
                    short(point[1])
                );
            }
        }
        self.framed(&svg)
    }

    fn framed(&self, svg: &str) -> String {
        let mut legend = String::new();
        if self.lines.len() > 1 {
            for (at, line) in self.lines.iter().enumerate() {
                let (class, label) = (class(at), escape(&line.label));
                _ = write!(legend, r#"<li><i class="{class}"></i>{label}</li>"#);
            }
            legend = format!(r#"<ul class="legend">{legend}</ul>"#);
        }
        let (title, unit) = (escape(&self.title), escape(&self.y.0));
        format!(
            "<figure><figcaption>{title} <small>{unit}</small></figcaption>\n\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">{svg}</svg>\n\
             {legend}</figure>\n"
        )
    }
}

/// The colour of a line.
fn class(at: usize) -> String {
    let dashed = if at >= COLOURS { " dashed" } else { "" };
    format!("c{}{dashed}", at % COLOURS)
}

/// Labelled bars from 0, each with its value and the spread of its repetitions.
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) unit: String,
    /// Label; median, least and greatest.
    pub(super) bars: Vec<(String, [f64; 3])>,
}

impl Bars {
    /// The figure, with its title.
    pub(super) fn render(&self) -> String {
        let scale = Scale::over(Kind::Linear, self.bars.iter().map(|(_, [.., max])| *max));
        let length = |value: f64| scale.place(value) * (WIDTH - 90.0);
        let mut svg = String::new();
        for (at, (label, [median, min, max])) in self.bars.iter().enumerate() {
            let (top, end) = (at as f64 * BAR, length(*median));
            _ = write!(
                svg,
                r#"<text class="bar-label" x="0" y="{:.1}">{}</text><rect class="bar" x="0" y="{:.1}" width="{:.1}" height="14" rx="2"/><text class="value" x="{:.1}" y="{:.1}">{}</text>"#,
                top + 13.0,
                escape(label),
                top + 18.0,
                end.max(1.0),
                length(*max).max(end) + 8.0,
                top + 29.5,
                super::super::document::shown(*median)
            );
            if max > min {
                let middle = top + 25.0;
                let (from, to) = (length(*min), length(*max));
                _ = write!(
                    svg,
                    r#"<line class="spread" x1="{from:.1}" y1="{middle}" x2="{to:.1}" y2="{middle}"/>"#
                );
            }
        }
        let (title, unit) = (escape(&self.title), escape(&self.unit));
        let height = self.bars.len() as f64 * BAR;
        format!(
            "<figure><figcaption>{title} <small>{unit}</small></figcaption>\n\
             <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">{svg}</svg></figure>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, points: &[[f64; 2]]) -> Line {
        Line { label: label.to_owned(), points: points.to_vec() }
    }

    #[test]
    fn lines_are_in_the_frame_and_names_are_escaped() {
        let plot = Plot {
            title: "a < b".into(),
            x: ("rate".into(), Kind::Log),
            y: ("µs".into(), Kind::Log),
            lines: vec![
                line("one", &[[1e3, 10.0], [1e5, 1e3]]),
                line("two", &[[1e3, 1e2], [1e5, 1e4]]),
            ],
        };
        let html = plot.render();
        assert!(html.contains("a &lt; b") && !html.contains("a < b"));
        // From the lower left corner of the plane to below the upper right one.
        assert!(html.contains(r#"points="52.0,258.0 542.0,94.0""#), "{html}");
        assert_eq!(html.matches("<circle").count(), 4);
        assert_eq!(html.matches("<li>").count(), 2);
    }

    #[test]
    fn bars_show_their_spread_only_if_they_have_one() {
        let bars = vec![("one".into(), [5.0, 5.0, 5.0]), ("two".into(), [7.0, 6.0, 8.0])];
        let html = Bars { title: "rate".into(), unit: "/s".into(), bars }.render();
        assert_eq!(html.matches(r#"class="bar""#).count(), 2);
        assert_eq!(html.matches(r#"class="spread""#).count(), 1);
    }
}
