//! Tests that random conversations with the code flow never sign in where a simple model does not, and that strangers
//! do not keep a number's owner out.

use futures_util::future::join_all;
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use tokio::time::sleep;

use super::{issuer::random_code, *};
use crate::{
    auth::{Attempts, countries::Countries},
    state::{Choice, Limit, StateStore},
    testing::new_mobile,
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
        let attempts = || Attempts {
            store: StateStore::open(choice).expect("run the tests with `cargo local test`"),
            pepper: "pepper".into(),
        };
        let unlimited = |policy| Limit { policy, detail: "", times: 1_000_000, window: HOUR };
        Self {
            issuer: CodeIssuer {
                attempts: attempts(),
                countries: Countries::all(),
                lifetime,
                resend: unlimited("no-resend"),
                per_address: unlimited("no-address"),
                per_country: unlimited("no-country"),
                in_all: unlimited("no-cap"),
            },
            verifier: CodeVerifier { attempts: attempts(), per_address: unlimited("no-guesses") },
        }
    }

    async fn ask(&self, mobile: &Mobile, address: &str) -> Result<Issued> {
        self.issuer.issue(Purpose::SignIn, mobile, address, None).await
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

/// How many codes strangers behind so many addresses get for a number, and how many guesses at them.
async fn besieged_from(addresses: usize) -> (u32, u32) {
    let codes = Codes::new(Choice::Redis, LIFETIME);
    let mobile = new_mobile();
    let (mut issued, mut compared) = (0, 0);
    for address in 0..addresses {
        for _ in 0..5 {
            let Ok(sent) = codes.ask(&mobile, &format!("10.0.0.{address}")).await else {
                continue;
            };
            issued += 1;
            let wrong = guess(&other_than(sent.code.expose_secret()));
            for _ in 0..5 {
                let verifier = &codes.verifier;
                let taken = verifier.take(Purpose::SignIn, &mobile, &sent.challenge, &wrong, AWAY).await;
                compared += u32::from(matches!(taken, Err(Error::WrongCode)));
            }
        }
    }
    (issued, compared)
}

#[tokio::test]
async fn strangers_get_five_codes_and_ten_guesses_an_hour_behind_one_address_and_twenty_and_thirty_behind_many() {
    assert_eq!(besieged_from(1).await, (5, 10));
    assert_eq!(besieged_from(8).await, (20, 30));
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
