//! Shows progress on standard error: a spinner on a terminal, plain lines elsewhere. Standard output belongs to the
//! command that `exec` runs.

use std::{
    io::{IsTerminal, stderr},
    sync::LazyLock,
    time::Duration,
};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

/// The steps under way, a line for each.
static STEPS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A step that takes time.
pub struct Step {
    bar: ProgressBar,
    text: String,
}

impl Step {
    /// Begins a step.
    pub fn begin(text: impl Into<String>) -> Self {
        let text = text.into();
        let bar = STEPS.add(ProgressBar::new_spinner());
        if stderr().is_terminal() {
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {wide_msg:.dim} {elapsed}") {
                bar.set_style(style);
            }
            bar.set_prefix(text.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            eprintln!("{text} …");
        }
        Self { bar, text }
    }

    /// Shows the present detail.
    pub fn show(&self, detail: impl Into<String>) {
        self.bar.set_message(detail.into());
    }

    /// Ends the step. One that is dropped without leaves no line.
    pub fn done(self) {
        let elapsed = self.bar.elapsed();
        self.bar.finish_and_clear();
        if stderr().is_terminal() || elapsed > Duration::from_secs(5) {
            STEPS.suspend(|| eprintln!("{}: {}", self.text, time(elapsed)));
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn time(elapsed: Duration) -> String {
    if elapsed < Duration::from_mins(1) {
        format!("{:.1} s", elapsed.as_secs_f32())
    } else {
        HumanDuration(elapsed).to_string()
    }
}
