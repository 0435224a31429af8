//! A short random run; `cargo local faults` does longer ones.

use local::{chaos, settings::Settings, system::System};

use crate::stack::{Stack, services};

pub async fn after_random_faults_every_message_has_come_to_its_one_end(stack: &Stack) {
    let services = services().with_own_postgres().await.unwrap();
    let settings = Settings {
        queue: stack.kind.0,
        state: stack.kind.1,
        ..Settings::default()
    };
    let system = System::start(&services, chaos::settings(settings))
        .await
        .unwrap();
    let figures = chaos::run(&services, &system, 5, 150).await.unwrap();
    println!("{figures}");
    assert!(figures.accepted > 30 && figures.kills > 0 && figures.restarts > 0);
    assert!(figures.duplicates > 0 && figures.delays > 0);
    assert_eq!((figures.lost, figures.doubled), (0, 0));
}
