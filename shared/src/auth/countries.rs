//! Reads the calling code of a number, and refuses the countries that get no codes.

use crate::{
    Error, Result,
    config::{self, ConfigError},
    domain::Mobile,
};

/// Lists the countries whose numbers get codes; without a list, all do.
pub struct Countries(Option<Vec<String>>);

impl Countries {
    /// Reads `OTP_COUNTRIES`: calling codes such as `1,44,49`. Longer prefixes of numbers work too. Without it, every
    /// country is served.
    ///
    /// # Errors
    /// When something else than digits is in the list.
    pub fn from_env() -> Result<Self, ConfigError> {
        const NAME: &str = "OTP_COUNTRIES";
        let Some(list) = config::optional::<String>(NAME)? else {
            return Ok(Self(None));
        };
        Self::parse(&list).map_err(|problem| ConfigError::malformed(NAME, problem))
    }

    #[cfg(test)]
    pub(super) fn all() -> Self {
        Self(None)
    }

    fn parse(list: &str) -> Result<Self, &'static str> {
        let prefixes = list.split(',').map(|prefix| prefix.trim().trim_start_matches('+'));
        let prefixes: Vec<_> = prefixes.map(str::to_owned).collect();
        let is_number = |prefix: &String| !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        if prefixes.iter().all(is_number) {
            Ok(Self(Some(prefixes)))
        } else {
            Err("not calling codes, separated by commas")
        }
    }

    /// Refuses a number of a country that is not served.
    ///
    /// # Errors
    /// [`Error::Invalid`], which names the field `mobile`.
    pub fn check(&self, mobile: &Mobile) -> Result<()> {
        let digits = mobile.as_str().trim_start_matches('+');
        match &self.0 {
            Some(served) if !served.iter().any(|prefix| digits.starts_with(prefix)) => {
                Err(Error::invalid("mobile", "is of a country that is not served"))
            }
            _ => Ok(()),
        }
    }
}

/// Finds the calling code that a number begins with. They have one digit, two or three, and none begins another
/// (ITU-T E.164, Annex D).
pub(super) fn calling_code(mobile: &Mobile) -> &str {
    let digits = mobile.as_str().trim_start_matches('+');
    let length = match digits.as_bytes() {
        [b'1' | b'7', ..] => 1,
        [b'2', b'0' | b'7', ..]
        | [b'3', b'0'..=b'4' | b'6' | b'9', ..]
        | [b'4', b'0' | b'1' | b'3'..=b'9', ..]
        | [b'5', b'1'..=b'8', ..]
        | [b'6', b'0'..=b'6', ..]
        | [b'8', b'1' | b'2' | b'4' | b'6', ..]
        | [b'9', b'0'..=b'5' | b'8', ..] => 2,
        _ => 3,
    };
    &digits[..length]
}

#[cfg(test)]
mod tests {
    //! Tests which numbers are served, and which country they belong to.

    use super::*;

    fn mobile(text: &str) -> Mobile {
        Mobile::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_number_begins_with_its_calling_code() {
        for (number, code) in [
            ("+15550109999", "1"),
            ("+79161234567", "7"),
            ("+201001234567", "20"),
            ("+353851234567", "353"),
            ("+447700900123", "44"),
            ("+4915112345678", "49"),
            ("+919812345678", "91"),
            ("+971501234567", "971"),
            ("+8801712345678", "880"),
            ("+8613812345678", "86"),
        ] {
            assert_eq!(calling_code(&mobile(number)), code, "{number}");
        }
    }

    #[test]
    fn numbers_of_other_countries_are_refused() {
        let served = Countries::parse("44, +49,1415").unwrap();
        for number in ["+447700900123", "+4915112345678", "+14155550123"] {
            assert!(served.check(&mobile(number)).is_ok(), "{number}");
        }
        for number in ["+15550109999", "+919812345678", "+43664123456"] {
            assert!(served.check(&mobile(number)).is_err(), "{number}");
        }
        assert!(Countries::all().check(&mobile("+919812345678")).is_ok());
    }

    #[test]
    fn what_is_no_list_of_calling_codes_is_refused() {
        for list in ["", "DE", "49;44", "49,,44", "49,"] {
            assert!(Countries::parse(list).is_err(), "{list:?}");
        }
    }
}
