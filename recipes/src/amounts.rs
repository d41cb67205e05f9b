//! Amounts as people read them.

/// A count with a comma between thousands: `12,000`.
pub fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 step`, `12 steps`.
pub fn counted(n: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Seconds in the two largest units that they fill: `45 s`, `3 min 20 s`, `2 h 05 min`, `1 d 4 h`.
pub fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.round() as u64;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min {:02} s", seconds % 60),
        (hours @ 1..=23, minutes) => format!("{hours} h {:02} min", minutes % 60),
        (hours, _) => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// Bytes as MB or GB: `12 MB`, `1.9 GB`.
pub fn bytes(n: f64) -> String {
    match n {
        n if n < 9.95e6 => format!("{:.1} MB", n / 1e6),
        n if n < 9.95e8 => format!("{:.0} MB", n / 1e6),
        n => format!("{:.1} GB", n / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short_and_exact_enough() {
        assert_eq!([0, 12, 999, 1000, 1_234_567].map(count), ["0", "12", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "step"), counted(2000, "step")], ["1 step", "2,000 steps"]);
        let times = [0.31, 9.949, 9.96, 45.0, 200.4, 7500.0, 100_800.0].map(duration);
        assert_eq!(times, ["0.3 s", "9.9 s", "10 s", "45 s", "3 min 20 s", "2 h 05 min", "1 d 4 h"]);
        assert_eq!([3.6e6, 1.2e7, 1.94e9].map(bytes), ["3.6 MB", "12 MB", "1.9 GB"]);
    }
}
