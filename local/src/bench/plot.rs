//! Cold start and memory of each function as a picture.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::{
    backend::SVGBackend,
    chart::ChartBuilder,
    coord::Shift,
    drawing::{DrawingArea, IntoDrawingArea},
    element::Rectangle,
    style::{Color, RGBColor, WHITE},
};

use super::figures::{Figures, Run};

const ROW: u32 = 24;
const MARGIN: u32 = 90;
const WIDTH: u32 = 1_000;

/// Draws it.
pub fn draw(run: &Run, path: &Path) -> Result<()> {
    let functions: Vec<&Figures> = std::iter::once(&run.hello).chain(&run.functions).collect();
    let rows = u32::try_from(functions.len())?;
    let area = SVGBackend::new(path, (WIDTH, rows * ROW + MARGIN)).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw: {error}");
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let (left, right) = area.split_horizontally(WIDTH / 2);
    let init = |figures: &Figures| figures.init_ms.median;
    bars(
        &left,
        &functions,
        "Cold start, ms",
        init,
        RGBColor(214, 96, 77),
    )
    .map_err(|error| failed(&*error))?;
    let peak = |figures: &Figures| {
        let requests = figures.requests.as_ref();
        requests.map_or(0.0, |requests| requests.warm.peak_mb)
    };
    bars(
        &right,
        &functions,
        "Peak memory, MB",
        peak,
        RGBColor(67, 147, 195),
    )
    .map_err(|error| failed(&*error))?;
    area.present().map_err(|error| failed(&error))
}

/// One bar below the other, the first on top.
fn bars(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    functions: &[&Figures],
    title: &str,
    value: impl Fn(&Figures) -> f64,
    color: RGBColor,
) -> Result<(), Box<dyn std::error::Error>> {
    let most = functions
        .iter()
        .map(|figures| value(figures))
        .fold(0.0, f64::max);
    let rows = i32::try_from(functions.len())?;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(160)
        .build_cartesian_2d(0.0..most * 1.05, -rows..0)?;
    let name = |row: &i32| {
        let index = usize::try_from(-row - 1).unwrap_or(usize::MAX);
        let figures = functions.get(index);
        figures.map_or_else(String::new, |figures| figures.function.clone())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(functions.len() + 1)
        .y_label_formatter(&name)
        .y_label_offset(-10)
        .draw()?;
    chart.draw_series(functions.iter().zip(1..).map(|(figures, row)| {
        let mut bar = Rectangle::new([(0.0, -row), (value(figures), 1 - row)], color.filled());
        bar.set_margin(4, 4, 0, 0);
        bar
    }))?;
    Ok(())
}
