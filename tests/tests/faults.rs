//! What goes wrong, and that it is told, touches nobody else and leaves nothing.

use isopod_tests::soak::Soak;

/// A short soak: `cargo xtask soak` is the long one.
#[test]
fn lives_end_at_random_moments() {
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let soak = Soak {
        lives: 10,
        seed,
        side_by_side: 3,
    };
    let _ = soak.run(|_| ());
}

/// `cargo xtask soak`, which says how many and from which seed.
#[test]
#[ignore = "takes minutes: `cargo xtask soak`"]
#[expect(clippy::print_stdout, reason = "the table is what it is run for")]
fn soak() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let lives = usize::try_from(number("ISOPOD_SOAK_LIVES").unwrap_or(200)).unwrap();
    let seed = number("ISOPOD_SOAK_SEED").unwrap_or(1);
    let soak = Soak {
        lives,
        seed,
        side_by_side: 4,
    };
    let tally = soak.run(|lived| println!("{lived} of {lives} lives"));
    println!("\n{}", tally.table());
}
