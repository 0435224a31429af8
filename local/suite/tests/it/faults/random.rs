//! Makes a short random run; `cargo local faults` does longer ones.

use local_stack::system::System;
use local_suite::{chaos, harness::Stack};

on_every_kind!(after_random_faults_every_message_has_come_to_its_one_end);

pub async fn after_random_faults_every_message_has_come_to_its_one_end(stack: &Stack) {
    let services = Stack::services().with_own_postgres().await.unwrap();
    let settings = chaos::settings(stack.settings.clone());
    let system = System::start(&services, settings).await.unwrap();
    let figures = chaos::run(&services, &system, 6, 150).await.unwrap();
    println!("{figures}");
    assert!(figures.accepted > 30 && figures.kills > 0 && figures.restarts > 0);
    assert!(figures.duplicates > 0 && figures.delays > 0);
    assert!(figures.accounts > 0 && figures.poisons > 0 && figures.floods > 0);
    assert_eq!((figures.lost, figures.doubled), (0, 0));
}
