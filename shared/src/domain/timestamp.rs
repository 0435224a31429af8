//! Writes times for JSON: RFC 3339 in UTC, always with six digits of a second.
//!
//! Six are what Postgres stores. A format without a fixed width is read wrongly by clients that compare texts or parse
//! by a pattern.

#![expect(missing_docs, reason = "time's macro makes a module without")]

use std::num::NonZero;

use time::format_description::well_known::{
    Iso8601,
    iso8601::{Config, EncodedConfig, TimePrecision},
};

const MICROSECONDS: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: NonZero::new(6) }).encode();

const FORMAT: Iso8601<MICROSECONDS> = Iso8601;

time::serde::format_description!(pub mod microseconds [time::OffsetDateTime] = FORMAT);

#[cfg(test)]
mod tests {
    //! A time looks the same whatever its fraction.

    use serde::{Deserialize, Serialize};
    use time::{OffsetDateTime, macros::datetime};

    #[derive(Serialize, Deserialize)]
    struct Times {
        #[serde(with = "super::microseconds")]
        at: OffsetDateTime,
        #[serde(with = "super::microseconds::option")]
        until: Option<OffsetDateTime>,
    }

    #[test]
    fn a_time_has_six_digits_of_a_second_whatever_its_fraction() {
        for (time, expected) in [
            (datetime!(2026-11-23 00:00 UTC), "2026-11-23T00:00:00.000000Z"),
            (datetime!(2026-11-22 20:14:47.12 UTC), "2026-11-22T20:14:47.120000Z"),
            (datetime!(2026-11-22 20:14:47.123456 UTC), "2026-11-22T20:14:47.123456Z"),
        ] {
            let json = serde_json::to_value(Times { at: time, until: Some(time) }).unwrap();
            assert_eq!((&json["at"], &json["until"]), (&expected.into(), &expected.into()));
            let read: Times = serde_json::from_value(json).unwrap();
            assert_eq!((read.at, read.until), (time, Some(time)));
        }
    }
}
