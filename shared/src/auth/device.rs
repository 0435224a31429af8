//! Names the device of a sign-in, so that its owner recognises it in the list of sessions.

use lambda_http::{Request, http::header};

/// The longest name of an app that is kept.
const LONGEST: usize = 40;

/// Systems by what their `User-Agent` contains; the first that is found counts, since Android's also says Linux, and
/// that of an iPhone says Mac OS X.
const SYSTEMS: [(&str, &str); 8] = [
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
];

/// Browsers likewise: nearly all say Safari, and most say Chrome.
const BROWSERS: [(&str, &str); 9] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Version/", "Safari"),
    ("Safari/", "Safari"),
];

/// A short name of a device: `Firefox on Linux`, `ChatApp on iPhone`, `curl`. Versions are left out, which tell more
/// about its owner than a list of sessions needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Device(String);

impl Device {
    /// Reads the `User-Agent` of a request. `None` when it names nothing.
    #[must_use]
    pub fn of(request: &Request) -> Option<Self> {
        let agent = request.headers().get(header::USER_AGENT)?.to_str().ok()?;
        Self::named(agent)
    }

    fn named(agent: &str) -> Option<Self> {
        let find =
            |known: &[(&str, &'static str)]| known.iter().find(|(part, _)| agent.contains(part)).map(|(_, name)| *name);
        let browser = if agent.starts_with("Mozilla/") { find(&BROWSERS) } else { None };
        match (browser.map_or_else(|| app(agent), |name| Some(name.to_owned())), find(&SYSTEMS)) {
            (Some(app), Some(system)) => Some(Self(format!("{app} on {system}"))),
            (Some(app), None) => Some(Self(app)),
            (None, system) => system.map(|system| Self(system.to_owned())),
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads the name with which an app introduces itself.
fn app(agent: &str) -> Option<String> {
    let name = agent.split(['/', ' ', '(']).next()?;
    let plain = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    let plain: String = plain.take(LONGEST).collect();
    (!plain.is_empty() && plain != "Mozilla").then_some(plain)
}

#[cfg(test)]
mod tests {
    //! Tests the names of devices.

    use super::*;

    #[test]
    fn a_device_is_named_by_its_browser_or_app_and_its_system() {
        for (agent, name) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 \
                 Safari/537.36 Edg/142.0.0.0",
                "Edge on Windows",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile \
                 Safari/537.36",
                "Chrome on Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/26.0 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 \
                 Safari/605.1.15",
                "Safari on macOS",
            ),
            ("ChatApp/1.4 (iPhone; iOS 26.1)", "ChatApp on iPhone"),
            ("curl/8.14.1", "curl"),
            ("okhttp", "okhttp"),
            ("Mozilla/5.0 (Android)", "Android"),
        ] {
            assert_eq!(Device::named(agent), Some(Device(name.to_owned())), "{agent}");
        }
        for nothing in ["", "/", "<>", "Mozilla/5.0"] {
            assert_eq!(Device::named(nothing), None, "{nothing}");
        }
        assert_eq!(Device::named("<b>App</b>\t\"\u{7f}/1"), Some(Device("bApp".to_owned())));
        assert_eq!(Device::named(&"a".repeat(4_000)), Some(Device("a".repeat(LONGEST))));
    }
}
