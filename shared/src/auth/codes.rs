//! One-time codes: six digits that prove who holds a mobile number.
//!
//! A code is stored as a keyed hash, so that the state store alone reveals none. It lives five minutes and works once.
//! Every guess is counted *before* it is compared, so that parallel guesses cannot slip through: five for a code, ten
//! an hour for a number. A right guess counts too, which errs on the safe side, since a number gets five codes an hour
//! at most. (OWASP ASVS 5, 6.5 and 6.6.)

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{
    Error, Result,
    config::{self, ConfigError},
    domain::Mobile,
    state::{Limit, StateStore},
};

/// How long a code works.
pub const LIFETIME: Duration = Duration::from_mins(5);
/// How long until a number may get another code.
pub const RESEND_AFTER: Duration = Duration::from_secs(30);

const HOUR: Duration = Duration::from_hours(1);

const RESEND: Limit = Limit {
    policy: "code-resend",
    detail: "A code was sent to this number moments ago. Wait before asking for another.",
    times: 1,
    window: RESEND_AFTER,
};
const PER_NUMBER: Limit = Limit {
    policy: "codes-per-number",
    detail: "Too many codes were asked for with this number.",
    times: 5,
    window: HOUR,
};
const PER_ADDRESS: Limit = Limit {
    policy: "codes-per-address",
    detail: "Too many codes were asked for from this address.",
    times: 20,
    window: HOUR,
};
const GUESSES_PER_NUMBER: Limit = Limit {
    policy: "guesses-per-number",
    detail: "Too many codes were tried with this number.",
    times: 10,
    window: HOUR,
};
const GUESSES_PER_CODE: Limit = Limit {
    policy: "guesses-per-code",
    detail: "This code was tried too often. Ask for another.",
    times: 5,
    window: LIFETIME,
};

/// What a code is good for. A code for one purpose is worth nothing for another.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// Signing in.
    SignIn,
    /// Setting a new password.
    ResetPassword,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::ResetPassword => "reset-password",
        }
    }
}

/// A code as somebody typed it: six digits.
#[derive(Deserialize)]
#[serde(try_from = "SecretString")]
pub struct Guess(SecretString);

/// Says what a code looks like.
#[derive(Debug, thiserror::Error)]
#[error("must be the six digits that were sent")]
pub struct NotACode;

impl TryFrom<SecretString> for Guess {
    type Error = NotACode;

    fn try_from(text: SecretString) -> Result<Self, NotACode> {
        let digits = text.expose_secret().as_bytes();
        let well_formed = digits.len() == 6 && digits.iter().all(u8::is_ascii_digit);
        well_formed.then_some(Self(text)).ok_or(NotACode)
    }
}

/// Makes and checks codes.
pub struct Codes {
    store: StateStore,
    pepper: SecretString,
    lifetime: Duration,
    resend: Limit,
    per_address: Limit,
}

impl Codes {
    /// Codes as the environment says: the [state store](StateStore::from_env), `OTP_PEPPER` and
    /// `OTP_CODES_PER_ADDRESS_HOUR`.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            store: StateStore::from_env()?,
            pepper: config::secret("OTP_PEPPER")?,
            lifetime: LIFETIME,
            resend: RESEND,
            per_address: Limit {
                times: config::or_default("OTP_CODES_PER_ADDRESS_HOUR", PER_ADDRESS.times)?,
                ..PER_ADDRESS
            },
        })
    }

    /// A new code for `mobile`, asked for from the network `address`. Whatever code it had stops working.
    ///
    /// # Errors
    /// - [`Error::OverLimit`] when the number or the address had too many, or one moments ago,
    /// - [`Error::Unavailable`] when the state store does not answer.
    pub async fn issue(
        &self,
        purpose: Purpose,
        mobile: &Mobile,
        address: &str,
    ) -> Result<SecretString> {
        let number = mobile.as_str();
        let store = &self.store;
        store
            .count(&format!("codes-from:{address}"), &self.per_address)
            .await?;
        let resend = format!("resend:{}:{number}", purpose.name());
        store.count(&resend, &self.resend).await?;
        store
            .count(&format!("codes-to:{number}"), &PER_NUMBER)
            .await?;

        let code = random_code()?;
        let stored = self.seal(purpose, mobile, &nonce()?, &code);
        let key = key(purpose, mobile);
        loop {
            let done = match store.get(&key).await? {
                Some(before) => {
                    store
                        .replace_if(&key, &before, &stored, self.lifetime)
                        .await?
                }
                None => store.put_if_absent(&key, &stored, self.lifetime).await?,
            };
            if done {
                return Ok(code.into());
            }
        }
    }

    /// Takes the code of `mobile` if `guess` is it. Of many right guesses, one takes it.
    ///
    /// # Errors
    /// - [`Error::WrongCode`] when it is not, was taken, expired, guessed at too often, or never issued,
    /// - [`Error::OverLimit`] when the number was guessed at too often,
    /// - [`Error::Unavailable`] when the state store does not answer.
    pub async fn take(&self, purpose: Purpose, mobile: &Mobile, guess: &Guess) -> Result<()> {
        let guesses = format!("guesses:{}", mobile.as_str());
        self.store.count(&guesses, &GUESSES_PER_NUMBER).await?;

        let key = key(purpose, mobile);
        let stored = self.store.get(&key).await?.ok_or(Error::WrongCode)?;
        let (nonce, _) = stored.split_once(':').ok_or(Error::WrongCode)?;
        match self
            .store
            .count(&format!("guesses:{nonce}"), &GUESSES_PER_CODE)
            .await
        {
            Err(Error::OverLimit(_)) => return Err(Error::WrongCode),
            counted => counted?,
        }

        let guessed = self.seal(purpose, mobile, nonce, guess.0.expose_secret());
        let right = bool::from(guessed.as_bytes().ct_eq(stored.as_bytes()));
        if right && self.store.remove_if(&key, &stored).await? {
            Ok(())
        } else {
            Err(Error::WrongCode)
        }
    }

    /// `nonce:HMAC-SHA-256(pepper, purpose, number, nonce, code)`. The nonce makes every stored code different, even
    /// when the digits repeat, so that removing one can never remove its successor.
    fn seal(&self, purpose: Purpose, mobile: &Mobile, nonce: &str, code: &str) -> String {
        let pepper = self.pepper.expose_secret().as_bytes();
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(pepper).expect("any key length");
        for part in [purpose.name(), mobile.as_str(), nonce, code] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let hash = BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        format!("{nonce}:{hash}")
    }
}

fn key(purpose: Purpose, mobile: &Mobile) -> String {
    format!("code:{}:{}", purpose.name(), mobile.as_str())
}

fn nonce() -> Result<String> {
    let mut nonce = [0; 12];
    getrandom::fill(&mut nonce).map_err(Error::internal)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(nonce))
}

/// Six digits, each code equally likely: numbers from the incomplete last million are drawn again.
fn random_code() -> Result<String> {
    const CODES: u32 = 1_000_000;
    loop {
        let number = getrandom::u32().map_err(Error::internal)?;
        if number < u32::MAX - u32::MAX % CODES {
            return Ok(format!("{:06}", number % CODES));
        }
    }
}

#[cfg(test)]
mod tests {
    //! Random conversations with the code flow never sign in where a simple model does not.

    use futures_util::future::join_all;
    use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
    use tokio::time::sleep;

    use super::*;
    use crate::{domain::UserId, state::Choice};

    const SHORT: Duration = Duration::from_secs(2);

    /// A state store may round up to whole seconds.
    const PAST_SHORT: Duration = Duration::from_millis(3_200);

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Ask,
        Wrong {
            at_once: usize,
        },
        Right {
            at_once: usize,
        },
        /// The code before the last.
        Replaced,
        Wait,
    }

    fn step() -> impl Strategy<Value = Step> {
        let at_once = prop_oneof![3 => Just(1), 1 => 2_usize..8];
        prop_oneof![
            4 => Just(Step::Ask),
            3 => at_once.clone().prop_map(|at_once| Step::Wrong { at_once }),
            4 => at_once.prop_map(|at_once| Step::Right { at_once }),
            1 => Just(Step::Replaced),
            1 => Just(Step::Wait),
        ]
    }

    /// What must hold, without any store or hash.
    #[derive(Default)]
    struct Model {
        asked: u32,
        guessed: u32,
        /// How often the living code was guessed at.
        code: Option<u32>,
    }

    impl Model {
        fn ask(&mut self) -> bool {
            let allowed = self.asked < 5;
            if allowed {
                self.asked += 1;
                self.code = Some(0);
            }
            allowed
        }

        fn guess(&mut self, right: bool) -> bool {
            if self.guessed == 10 {
                return false;
            }
            self.guessed += 1;
            let Some(guesses) = self.code.as_mut().filter(|guesses| **guesses < 5) else {
                return false;
            };
            *guesses += 1;
            if right {
                self.code = None;
            }
            right
        }
    }

    fn codes(choice: Choice) -> Codes {
        Codes {
            store: StateStore::open(choice).expect("run the tests with `cargo local test`"),
            pepper: "pepper".to_owned().into(),
            lifetime: SHORT,
            resend: Limit {
                times: 1_000,
                ..RESEND
            },
            per_address: Limit {
                times: 1_000_000,
                ..PER_ADDRESS
            },
        }
    }

    fn guess(code: &str) -> Guess {
        Guess::try_from(SecretString::from(code.to_owned())).unwrap()
    }

    fn other_than(code: &str) -> String {
        format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
    }

    async fn taken(codes: &Codes, mobile: &Mobile, code: &str, at_once: usize) -> usize {
        let guess = &guess(code);
        let takes =
            join_all((0..at_once).map(|_| codes.take(Purpose::SignIn, mobile, guess))).await;
        takes.iter().filter(|take| take.is_ok()).count()
    }

    /// Plays the steps with a number of their own and says how often they signed in.
    async fn play(codes: &Codes, mobile: Mobile, steps: &[Step]) -> usize {
        let mut model = Model::default();
        let (mut current, mut replaced) = ("000000".to_owned(), "000000".to_owned());
        let mut total = 0;
        for (number, step) in steps.iter().enumerate() {
            let (signed_in, allowed) = match *step {
                Step::Ask => {
                    let issued = codes.issue(Purpose::SignIn, &mobile, "test").await;
                    assert_eq!(issued.is_ok(), model.ask(), "step {number} of {steps:?}");
                    if let Ok(code) = issued {
                        replaced = std::mem::replace(&mut current, code.expose_secret().to_owned());
                    }
                    (0, 0)
                }
                Step::Wrong { at_once } => {
                    for _ in 0..at_once {
                        model.guess(false);
                    }
                    (
                        taken(codes, &mobile, &other_than(&current), at_once).await,
                        0,
                    )
                }
                Step::Replaced if replaced != current => {
                    model.guess(false);
                    (taken(codes, &mobile, &replaced, 1).await, 0)
                }
                Step::Replaced => (0, 0),
                Step::Right { at_once } => {
                    let allowed = (0..at_once).filter(|_| model.guess(true)).count();
                    (taken(codes, &mobile, &current, at_once).await, allowed)
                }
                Step::Wait => {
                    model.code = None;
                    sleep(PAST_SHORT).await;
                    (0, 0)
                }
            };
            // On a slow machine a code may expire before its time in the model, never after.
            assert!(signed_in <= allowed, "step {number} of {steps:?}");
            total += signed_in;
        }
        total
    }

    async fn never_signs_in_where_the_model_does_not(choice: Choice) {
        let codes = &codes(choice);
        let mut runner = TestRunner::default();
        let stories = vec(vec(step(), 1..20), 60)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let plays = stories.iter().map(|steps| {
            let digits = UserId::new()
                .to_string()
                .bytes()
                .fold(0_u64, |number, byte| {
                    number.wrapping_mul(31).wrapping_add(byte.into())
                });
            let mobile =
                Mobile::try_from(format!("+1{:013}", digits % 10_000_000_000_000)).unwrap();
            play(codes, mobile, steps)
        });
        let signed_in: usize = join_all(plays).await.into_iter().sum();
        assert!(signed_in > 0, "no story got as far as signing in");
    }

    #[tokio::test]
    async fn random_stories_with_dynamodb_follow_the_model() {
        never_signs_in_where_the_model_does_not(Choice::DynamoDb).await;
    }

    #[tokio::test]
    async fn random_stories_with_redis_follow_the_model() {
        never_signs_in_where_the_model_does_not(Choice::Redis).await;
    }

    #[tokio::test]
    async fn of_a_hundred_right_guesses_at_once_one_takes_the_code() {
        for choice in [Choice::DynamoDb, Choice::Redis] {
            let codes = Codes {
                lifetime: LIFETIME,
                ..codes(choice)
            };
            let mobile = Mobile::try_from(format!("+1{:013}", getrandom::u32().unwrap())).unwrap();
            let code = codes.issue(Purpose::SignIn, &mobile, "test").await.unwrap();
            assert_eq!(taken(&codes, &mobile, code.expose_secret(), 100).await, 1);
        }
    }

    #[tokio::test]
    async fn a_code_for_one_purpose_or_number_is_worth_nothing_for_another() {
        let codes = Codes {
            lifetime: LIFETIME,
            ..codes(Choice::Redis)
        };
        let mobile = |()| Mobile::try_from(format!("+1{:013}", getrandom::u32().unwrap())).unwrap();
        let [mine, other] = [(), ()].map(mobile);
        let code = codes
            .issue(Purpose::ResetPassword, &mine, "test")
            .await
            .unwrap();
        codes.issue(Purpose::SignIn, &other, "test").await.unwrap();
        let guess = guess(code.expose_secret());
        for (purpose, mobile) in [(Purpose::SignIn, &mine), (Purpose::ResetPassword, &other)] {
            let taken = codes.take(purpose, mobile, &guess).await;
            assert!(matches!(taken, Err(Error::WrongCode)), "{taken:?}");
        }
        codes
            .take(Purpose::ResetPassword, &mine, &guess)
            .await
            .unwrap();
    }

    #[test]
    fn codes_are_six_digits_and_spread_evenly() {
        let mut tens = [0_u32; 10];
        for _ in 0..10_000 {
            let code = random_code().unwrap();
            assert!(
                Guess::try_from(SecretString::from(code.clone())).is_ok(),
                "{code}"
            );
            tens[usize::from(code.as_bytes()[0] - b'0')] += 1;
        }
        // Ten standard deviations from the expected thousand.
        assert!(
            tens.iter().all(|count| (700..1_300).contains(count)),
            "{tens:?}"
        );
    }
}
