//! Tests that random conversations with the code flow never sign in where a simple model does not, and that strangers
//! do not keep a number's owner out.

use futures_util::future::join_all;
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use tokio::time::sleep;

use super::{issuer::random_code, *};
use crate::{
    auth::{Attempts, countries::Countries},
    state::{Choice, Limit},
    testing::{new_address, new_mobile},
};

const SHORT: Duration = Duration::from_secs(2);

/// A state store may round up to whole seconds.
const PAST_SHORT: Duration = Duration::from_millis(3_200);

const HOME: &str = "203.0.113.7";
const AWAY: &str = "198.51.100.1";

/// Both halves of the flow.
struct Codes {
    issuer: CodeIssuer,
    verifier: CodeVerifier,
}

impl Codes {
    fn new(choice: Choice, lifetime: Duration) -> Self {
        let unlimited = |policy| Limit { policy, detail: "", times: 1_000_000, window: HOUR };
        Self {
            issuer: CodeIssuer {
                attempts: Attempts::over(choice),
                countries: Countries::all(),
                lifetime,
                resend: unlimited("no-resend"),
                per_address: unlimited("no-address"),
                per_country: unlimited("no-country"),
                in_all: unlimited("no-cap"),
            },
            verifier: CodeVerifier { attempts: Attempts::over(choice), per_address: unlimited("no-guesses") },
        }
    }

    async fn ask(&self, mobile: &Mobile, address: &str) -> Result<Issued> {
        self.issuer.issue(Purpose::SignIn, mobile, address, None).await
    }

    /// Takes a code by the right guess.
    async fn take(&self, mobile: &Mobile, issued: &Issued, address: &str) -> Result<Option<NewAccount>> {
        let right = guess(issued.code.expose_secret());
        self.verifier.take(Purpose::SignIn, mobile, &issued.challenge, &right, address).await
    }

    /// Guesses five times from an address, and returns how many guesses were compared.
    async fn guess_wrong(&self, mobile: &Mobile, issued: &Issued, address: &str) -> u32 {
        let wrong = guess(&other_than(issued.code.expose_secret()));
        let mut compared = 0;
        for _ in 0..5 {
            let taken = self.verifier.take(Purpose::SignIn, mobile, &issued.challenge, &wrong, address).await;
            compared += u32::from(matches!(taken, Err(Error::WrongCode)));
        }
        compared
    }

    /// How many of some guesses at once get in.
    async fn guess(&self, mobile: &Mobile, issued: &Issued, code: &str, at_once: usize) -> usize {
        let guess = &guess(code);
        let takes = (0..at_once).map(|_| {
            let verifier = &self.verifier;
            verifier.take(Purpose::SignIn, mobile, &issued.challenge, guess, "unlimited")
        });
        let takes = join_all(takes).await;
        takes.iter().filter(|take| take.is_ok()).count()
    }
}

fn guess(code: &str) -> Guess {
    Guess::try_from(SecretString::from(code.to_owned())).unwrap()
}

fn other_than(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask { away: bool },
    Wrong { code: usize, at_once: usize },
    Right { code: usize, at_once: usize },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let at_once = prop_oneof![3 => Just(1), 1 => 2_usize..8];
    let guess = (0_usize..3, at_once);
    prop_oneof![
        4 => any::<bool>().prop_map(|away| Step::Ask { away }),
        3 => guess.clone().prop_map(|(code, at_once)| Step::Wrong { code, at_once }),
        4 => guess.prop_map(|(code, at_once)| Step::Right { code, at_once }),
        1 => Just(Step::Wait),
    ]
}

/// What must hold, without any store or hash: how often the number's codes were asked for and guessed at, by address.
#[derive(Default)]
struct Model {
    asked: [u32; 2],
    guessed: [u32; 2],
    /// Where each code was asked for from, and how often it was guessed at, while it lives.
    codes: Vec<(usize, Option<u32>)>,
}

impl Model {
    fn ask(&mut self, from: usize) -> bool {
        let allowed = self.asked[from] < 5;
        if allowed {
            self.asked[from] += 1;
            self.codes.push((from, Some(0)));
        }
        allowed
    }

    fn guess(&mut self, code: usize, right: bool) -> bool {
        let (from, guesses) = &mut self.codes[code];
        let Some(count) = guesses.as_mut().filter(|count| **count < 5) else {
            return false;
        };
        *count += 1;
        if self.guessed[*from] == 10 {
            return false;
        }
        self.guessed[*from] += 1;
        if right {
            *guesses = None;
        }
        right
    }
}

/// Plays the steps with a number of their own and says how often they signed in.
async fn play(codes: &Codes, steps: &[Step]) -> usize {
    let (mobile, mut model) = (new_mobile(), Model::default());
    let mut issued: Vec<Issued> = Vec::new();
    let mut total = 0;
    for (number, step) in steps.iter().enumerate() {
        let (code, at_once, right) = match *step {
            Step::Ask { away } => {
                let new = codes.ask(&mobile, if away { AWAY } else { HOME }).await;
                let allowed = model.ask(usize::from(away));
                assert_eq!(new.is_ok(), allowed, "step {number} of {steps:?}");
                issued.extend(new);
                continue;
            }
            Step::Wait => {
                model.codes.iter_mut().for_each(|(_, guesses)| *guesses = None);
                sleep(PAST_SHORT).await;
                continue;
            }
            Step::Wrong { code, at_once } => (code, at_once, false),
            Step::Right { code, at_once } => (code, at_once, true),
        };
        // The newest codes come first.
        let Some(code) = issued.len().checked_sub(code + 1) else {
            continue;
        };
        let allowed = (0..at_once).filter(|_| model.guess(code, right)).count();
        let text = issued[code].code.expose_secret();
        let text = if right { text.to_owned() } else { other_than(text) };
        let signed_in = codes.guess(&mobile, &issued[code], &text, at_once).await;
        // On a slow machine a code may expire before its time in the model, never after.
        assert!(signed_in <= allowed, "step {number} of {steps:?}");
        total += signed_in;
    }
    total
}

async fn never_signs_in_where_the_model_does_not(choice: Choice) {
    let codes = &Codes::new(choice, SHORT);
    let mut runner = TestRunner::default();
    let stories = vec(vec(step(), 1..20), 60).new_tree(&mut runner).unwrap();
    let stories = stories.current();
    let plays = stories.iter().map(|steps| play(codes, steps));
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
async fn of_forty_right_guesses_at_once_one_takes_the_code() {
    for choice in [Choice::DynamoDb, Choice::Redis] {
        let codes = Codes::new(choice, LIFETIME);
        let mobile = new_mobile();
        let issued = codes.ask(&mobile, HOME).await.unwrap();
        let code = issued.code.expose_secret();
        assert_eq!(codes.guess(&mobile, &issued, code, 40).await, 1);
    }
}

#[tokio::test]
async fn a_code_for_one_purpose_number_or_challenge_is_worth_nothing_for_another() {
    let Codes { issuer, verifier } = Codes::new(Choice::Redis, LIFETIME);
    let (mine, other) = (new_mobile(), new_mobile());
    let reset = issuer.issue(Purpose::ResetPassword, &mine, HOME, None).await.unwrap();
    let another = issuer.issue(Purpose::ResetPassword, &mine, HOME, None).await.unwrap();
    let guess = guess(reset.code.expose_secret());
    for (purpose, mobile, challenge) in [
        (Purpose::SignIn, &mine, &reset.challenge),
        (Purpose::ResetPassword, &other, &reset.challenge),
        (Purpose::ResetPassword, &mine, &another.challenge),
    ] {
        let taken = verifier.take(purpose, mobile, challenge, &guess, HOME).await;
        assert!(matches!(taken, Err(Error::WrongCode)), "{taken:?}");
    }
    let taken = verifier.take(Purpose::ResetPassword, &mine, &reset.challenge, &guess, AWAY).await;
    taken.unwrap();
}

/// Otherwise a stranger would lock a number out with codes of his own.
#[tokio::test]
async fn guesses_with_the_challenge_of_another_number_count_against_none() {
    let codes = Codes::new(Choice::Redis, LIFETIME);
    let mobile = new_mobile();
    let mine = codes.ask(&mobile, HOME).await.unwrap();
    for number in 0..8 {
        let of_another = codes.ask(&new_mobile(), &format!("10.0.0.{number}")).await.unwrap();
        assert_eq!(codes.guess(&mobile, &of_another, "000000", 5).await, 0);
    }
    assert_eq!(codes.guess(&mobile, &mine, mine.code.expose_secret(), 1).await, 1);
}

#[tokio::test]
async fn the_account_that_a_code_opens_is_that_of_whoever_asked_for_it() {
    let Codes { issuer, verifier } = Codes::new(Choice::Redis, LIFETIME);
    let mobile = new_mobile();
    let named = |name: &str| {
        let name = Name::try_from(name.to_owned()).ok();
        Some(NewAccount { name, email: None })
    };
    let mine = issuer.issue(Purpose::SignIn, &mobile, HOME, named("Ada")).await.unwrap();
    issuer.issue(Purpose::SignIn, &mobile, AWAY, named("Mallory")).await.unwrap();
    let guess = guess(mine.code.expose_secret());
    let account = verifier.take(Purpose::SignIn, &mobile, &mine.challenge, &guess, HOME).await;
    let name = account.unwrap().unwrap().name.unwrap();
    assert_eq!(name.as_str(), "Ada");
}

/// What a stranger at another address does all hour, as far as he may: he asks for codes, and guesses at them.
async fn is_besieged(codes: &Codes, mobile: &Mobile) {
    let mut refused = 0;
    for _ in 0..6 {
        let Ok(issued) = codes.ask(mobile, AWAY).await else {
            refused += 1;
            continue;
        };
        let wrong = other_than(issued.code.expose_secret());
        codes.guess(mobile, &issued, &wrong, 20).await;
    }
    assert_eq!(refused, 1, "the siege went as far as it could");
}

#[tokio::test]
async fn a_stranger_who_asks_and_guesses_as_much_as_he_may_does_not_keep_the_owner_out() {
    for choice in [Choice::DynamoDb, Choice::Redis] {
        let codes = Codes::new(choice, LIFETIME);
        let mobile = new_mobile();
        let before = codes.ask(&mobile, HOME).await.unwrap();
        is_besieged(&codes, &mobile).await;
        let after = codes.ask(&mobile, HOME).await.unwrap();
        for issued in [before, after] {
            let code = issued.code.expose_secret();
            assert_eq!(codes.guess(&mobile, &issued, code, 1).await, 1);
        }
    }
}

/// How many codes strangers get for a number who ask for some behind each of their addresses, and how many guesses.
async fn besiege(codes: &Codes, mobile: &Mobile, addresses: &[String], each: usize) -> (u32, u32) {
    let (mut issued, mut compared) = (0, 0);
    for address in addresses {
        for _ in 0..each {
            let Ok(sent) = codes.ask(mobile, address).await else {
                continue;
            };
            issued += 1;
            compared += codes.guess_wrong(mobile, &sent, AWAY).await;
        }
    }
    (issued, compared)
}

fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|_| new_address()).collect()
}

#[tokio::test]
async fn strangers_get_five_codes_and_ten_guesses_an_hour_behind_one_address_and_ten_and_thirty_a_day_behind_many() {
    for choice in [Choice::DynamoDb, Choice::Redis] {
        let codes = Codes::new(choice, LIFETIME);
        assert_eq!(besiege(&codes, &new_mobile(), &addresses(1), 6).await, (5, 10));
        assert_eq!(besiege(&codes, &new_mobile(), &addresses(8), 6).await, (10, 20));
        assert_eq!(besiege(&codes, &new_mobile(), &addresses(8), 2).await, (10, 30));
    }
}

/// Lets a day pass, as far as strangers are concerned who want codes of a number and guess at them.
async fn a_day_passes(codes: &Codes, mobile: &Mobile) {
    for (policy, attempts) in [("codes", &codes.issuer.attempts), ("guesses", &codes.verifier.attempts)] {
        let limit = Limit { policy, detail: "", times: 0, window: DAY };
        attempts.clear(&[(&limit, &["number", Origin::Strange.name(), mobile.as_str()])]).await;
    }
}

#[tokio::test]
async fn fifty_wrong_codes_in_a_row_lock_strangers_out_until_the_owner_signs_in_from_home() {
    for choice in [Choice::DynamoDb, Choice::Redis] {
        let codes = Codes::new(choice, LIFETIME);
        let mobile = new_mobile();
        let first = codes.ask(&mobile, HOME).await.unwrap();
        codes.take(&mobile, &first, HOME).await.unwrap();

        let mut compared = 0;
        for _ in 0..3 {
            compared += besiege(&codes, &mobile, &addresses(5), 2).await.1;
            a_day_passes(&codes, &mobile).await;
        }
        assert_eq!(compared, 50);
        let elsewhere = codes.ask(&mobile, AWAY).await.unwrap();
        let locked = codes.take(&mobile, &elsewhere, AWAY).await;
        assert!(matches!(locked, Err(Error::OverLimit(_))), "even a right one: {locked:?}");

        let fresh = codes.ask(&mobile, HOME).await.unwrap();
        codes.take(&mobile, &fresh, HOME).await.unwrap();
        let elsewhere = codes.ask(&mobile, AWAY).await.unwrap();
        codes.take(&mobile, &elsewhere, AWAY).await.unwrap();
    }
}

/// Otherwise a number would be locked by its owner's own mistakes.
#[tokio::test]
async fn a_right_code_begins_the_failures_in_a_row_anew() {
    let codes = Codes::new(Choice::Redis, LIFETIME);
    let mobile = new_mobile();
    for _ in 0..7 {
        assert_eq!(besiege(&codes, &mobile, &addresses(2), 1).await, (2, 10));
        let sent = codes.ask(&mobile, &new_address()).await.unwrap();
        codes.take(&mobile, &sent, AWAY).await.unwrap();
        a_day_passes(&codes, &mobile).await;
    }
}

#[tokio::test]
async fn guesses_without_a_living_challenge_leave_those_at_the_same_address_their_own() {
    for choice in [Choice::DynamoDb, Choice::Redis] {
        let mut codes = Codes::new(choice, LIFETIME);
        let policy = "guesses"; // as in earnest, so that both counts would be one without their names
        codes.verifier.per_address = Limit { policy, detail: "", times: 3, window: HOUR };
        let (office, mobile) = (new_address(), new_mobile());
        let sent = codes.ask(&mobile, HOME).await.unwrap();
        let astray = async |challenge: &Challenge| {
            let guess = &guess("000000");
            codes.verifier.take(Purpose::SignIn, &new_mobile(), challenge, guess, &office).await
        };
        for number in 0..30 {
            // An invented one, and one of another number.
            let challenge = if number % 2 == 0 { Challenge::new().unwrap() } else { sent.challenge.clone() };
            let wrong = astray(&challenge).await;
            assert!(matches!(wrong, Err(Error::WrongCode)), "{number}: {wrong:?}");
        }
        let over = astray(&Challenge::new().unwrap()).await;
        assert!(matches!(over, Err(Error::OverLimit(_))), "{over:?}");
        codes.take(&mobile, &sent, &office).await.unwrap();
    }
}

#[tokio::test]
async fn who_fills_the_limits_of_an_address_does_not_keep_out_those_who_signed_in_there() {
    let mut codes = Codes::new(Choice::Redis, LIFETIME);
    codes.issuer.per_address = Limit { policy: "codes", detail: "", times: 4, window: HOUR };
    codes.verifier.per_address = Limit { policy: "guesses", detail: "", times: 4, window: HOUR };
    let (office, mobile) = (new_address(), new_mobile());
    let first = codes.ask(&mobile, &office).await.unwrap();
    codes.take(&mobile, &first, &office).await.unwrap();

    let strange = async || codes.ask(&new_mobile(), &office).await;
    for _ in 0..3 {
        let victim = new_mobile();
        let sent = codes.ask(&victim, &office).await.unwrap();
        codes.guess_wrong(&victim, &sent, &office).await;
    }
    assert!(strange().await.is_err(), "the codes of the address are used up");
    let sent = codes.ask(&mobile, &office).await.unwrap();
    codes.take(&mobile, &sent, &office).await.unwrap();
}

#[tokio::test]
async fn each_kind_of_sms_has_a_cap_of_its_own() {
    let mut codes = Codes::new(Choice::Redis, LIFETIME);
    codes.issuer.in_all = Limit { policy: "codes", detail: "", times: 2, window: HOUR };
    let pepper = new_address(); // so that no other test counts here
    codes.issuer.attempts.pepper = pepper.as_str().into();
    let mobile = new_mobile();
    let kinds = [Sms::SignUp, Sms::Known(Origin::Strange), Sms::Known(Origin::Familiar)];
    for kind in kinds {
        for _ in 0..2 {
            codes.issuer.count_sms(kind, &mobile).await.unwrap();
        }
        let over = codes.issuer.count_sms(kind, &mobile).await;
        assert!(matches!(over, Err(Error::OverLimit(_))), "{over:?}");
    }
}

#[test]
fn codes_are_six_digits_and_spread_evenly() {
    let mut tens = [0_u32; 10];
    for _ in 0..10_000 {
        let code = random_code().unwrap();
        tens[usize::from(code.expose_secret().as_bytes()[0] - b'0')] += 1;
        assert!(Guess::try_from(code).is_ok());
    }
    // Ten standard deviations from the expected thousand.
    assert!(tens.iter().all(|count| (700..1_300).contains(count)), "{tens:?}");
}
