//! One series as an SVG of its own: a line, its axes and its most.

use super::html::escape;
use crate::figures::{Series, shown};

/// The picture in pixels, and the room for the axes' words.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 130.0;
const LEFT: f64 = 52.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 20.0;

/// The SVG of a series; nothing for one without two points.
pub fn svg(series: &Series) -> String {
    let sound: Vec<_> = series.points.iter().filter(|p| p.0.is_finite() && p.1.is_finite()).collect();
    let (Some(first), Some(last)) = (sound.first(), sound.last()) else { return String::new() };
    let most = sound.iter().map(|p| p.1).fold(0.0, f64::max);
    let (from, to) = (first.0, last.0);
    if sound.len() < 2 || to <= from {
        return String::new();
    }
    let (across, up) = (WIDTH - LEFT - 8.0, HEIGHT - TOP - BOTTOM);
    let x = |at: f64| LEFT + (at - from) / (to - from) * across;
    let y = |value: f64| TOP + up - value.max(0.0) / most.max(1e-12) * up;
    let path: Vec<String> = sound.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
    let (ground, name) = (TOP + up, escape(&format!("{}, {}", series.name, series.unit)));
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{name}">"#
    );
    let mut word = |at: (f64, f64), anchor: &str, text: &str| {
        svg += &format!(r#"<text x="{:.1}" y="{:.1}" text-anchor="{anchor}">{text}</text>"#, at.0, at.1);
    };
    word((LEFT, 13.0), "start", &name);
    word((LEFT - 5.0, TOP + 5.0), "end", &shown(most));
    word((LEFT - 5.0, ground), "end", "0");
    word((LEFT, HEIGHT - 6.0), "start", &shown(from));
    word((WIDTH - 8.0, HEIGHT - 6.0), "end", &escape(&format!("{} {}", shown(to), series.over)));
    svg += &format!(r#"<path class="axis" d="M{LEFT},{TOP}V{ground}H{:.1}"/>"#, WIDTH - 8.0);
    svg + &format!(r#"<polyline points="{}"/></svg>"#, path.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(f64, f64)]) -> Series {
        Series { name: "a <b>".to_owned(), unit: "MB".to_owned(), over: "s".to_owned(), points: points.to_vec() }
    }

    #[test]
    fn a_line_goes_from_corner_to_corner_and_words_are_escaped() {
        let svg = svg(&series(&[(0.0, 0.0), (10.0, 4.0)]));
        assert!(svg.contains(r#"<polyline points="52.0,108.0 412.0,20.0"/>"#), "{svg}");
        assert!(svg.contains("a &lt;b&gt;, MB") && !svg.contains("<b>"), "{svg}");
    }

    #[test]
    fn what_has_no_extent_is_not_drawn() {
        for points in [&[][..], &[(1.0, 1.0)], &[(1.0, 1.0), (1.0, 2.0)], &[(0.0, f64::NAN), (1.0, f64::NAN)]] {
            assert_eq!(svg(&series(points)), "");
        }
    }
}
