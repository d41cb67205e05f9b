//! The date that templates see.

/// A calendar date. The default is the one in Llama 3 templates without a given date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Date {
    /// The year.
    pub year: u16,
    /// The month, 1 to 12.
    pub month: u8,
    /// The day of the month, 1 to 31.
    pub day: u8,
}

impl Default for Date {
    fn default() -> Self {
        Self { year: 2024, month: 7, day: 26 }
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The expansion of a `strftime` code.
enum Field {
    /// A number, its minimum width, and its padding.
    Number(usize, usize, char),
    Text(String),
    /// Another format.
    Format(&'static str),
}

use Field::{Format, Number, Text};

/// The flags between `%` and a code, as in glibc.
#[derive(Default)]
struct Flags {
    /// `_`, `-` or `0`: the padding, if given.
    pad: Option<char>,
    is_upper: bool,
    swaps_case: bool,
    width: usize,
}

/// Maximum width.
const WIDEST: usize = 1000;

impl Date {
    /// Formats the date like Python's `strftime` in the C locale; the time is midnight, without a time zone.
    ///
    /// # Errors
    /// An unknown code; the message names it.
    pub(super) fn format(self, format: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = format;
        while let Some((before, behind)) = rest.split_once('%') {
            out.push_str(before);
            let length = behind.find(|letter: char| !"_-0^#123456789".contains(letter)).unwrap_or(behind.len());
            let code = behind[length..].chars().next();
            let end = length + code.map_or(0, char::len_utf8);
            let unknown = || format!("strftime_now does not know %{}", &behind[..end]);
            let written = match code {
                // Python takes these three before the C library sees them.
                Some('f') if length == 0 => Some("000000".to_owned()),
                Some('z' | 'Z') if length == 0 => Some(String::new()),
                Some(code) => flags(&behind[..length]).and_then(|flags| self.code(code, &flags)),
                None => None,
            };
            out.push_str(&written.ok_or_else(unknown)?);
            rest = &behind[end..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn code(self, code: char, flags: &Flags) -> Option<String> {
        Some(match self.field(code)? {
            Number(number, width, fill) => {
                let fill = match flags.pad {
                    Some('-') => return Some(number.to_string()),
                    Some('_') => ' ',
                    Some(zero) => zero,
                    None => fill,
                };
                padded(&number.to_string(), fill, width.max(flags.width))
            }
            Text(text) => {
                let text = match (flags.swaps_case, flags.is_upper, code) {
                    (true, _, 'p') => text.to_lowercase(),
                    (true, _, 'a' | 'A' | 'b' | 'B' | 'h') | (_, true, _) if code != 'P' => text.to_uppercase(),
                    _ => text,
                };
                let fill = if flags.pad == Some('0') { '0' } else { ' ' };
                padded(&text, fill, flags.width)
            }
            Format(format) => {
                let is_plain = flags.pad.is_none() && !flags.swaps_case && flags.width == 0;
                let text = self.format(format).ok().filter(|_| is_plain)?;
                if flags.is_upper { text.to_uppercase() } else { text }
            }
        })
    }

    fn field(self, code: char) -> Option<Field> {
        let month_name = MONTHS.get(usize::from(self.month).checked_sub(1)?)?;
        let day_name = DAYS[self.weekday()];
        Some(match code {
            'B' => Text((*month_name).to_owned()),
            'b' | 'h' => Text(month_name[..3].to_owned()),
            'A' => Text(day_name.to_owned()),
            'a' => Text(day_name[..3].to_owned()),
            'p' => Text("AM".to_owned()),
            'P' => Text("am".to_owned()),
            'n' => Text("\n".to_owned()),
            't' => Text("\t".to_owned()),
            '%' => Text("%".to_owned()),
            'F' => Format("%Y-%m-%d"),
            'D' | 'x' => Format("%m/%d/%y"),
            'T' | 'X' => Format("%H:%M:%S"),
            'R' => Format("%H:%M"),
            'r' => Format("%I:%M:%S %p"),
            'c' => Format("%a %b %e %H:%M:%S %Y"),
            _ => return self.number(code),
        })
    }

    fn number(self, code: char) -> Option<Field> {
        let (year, since_monday) = (usize::from(self.year), (self.weekday() + 6) % 7);
        Some(match code {
            'Y' => Number(year, 4, '0'),
            'G' => Number(self.iso_week().0, 4, '0'),
            'y' => Number(year % 100, 2, '0'),
            'g' => Number(self.iso_week().0 % 100, 2, '0'),
            'C' => Number(year / 100, 2, '0'),
            'm' => Number(self.month.into(), 2, '0'),
            'd' => Number(self.day.into(), 2, '0'),
            'e' => Number(self.day.into(), 2, ' '),
            'j' => Number(self.day_of_year() + 1, 3, '0'),
            'U' => Number((self.day_of_year() + 7 - self.weekday()) / 7, 2, '0'),
            'W' => Number((self.day_of_year() + 7 - since_monday) / 7, 2, '0'),
            'V' => Number(self.iso_week().1, 2, '0'),
            'u' => Number(since_monday + 1, 1, '0'),
            'w' => Number(self.weekday(), 1, '0'),
            'H' | 'M' | 'S' => Number(0, 2, '0'),
            'k' => Number(0, 2, ' '),
            'I' => Number(12, 2, '0'),
            'l' => Number(12, 2, ' '),
            _ => return None,
        })
    }

    fn is_leap(year: usize) -> bool {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    }

    /// Days since January 1st.
    fn day_of_year(self) -> usize {
        const BEFORE: [usize; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let month = usize::from(self.month.clamp(1, 12));
        let leap = usize::from(month > 2 && Self::is_leap(self.year.into()));
        BEFORE[month - 1] + leap + usize::from(self.day.max(1)) - 1
    }

    /// ISO 8601 year and week number: a week belongs to the year of its Thursday.
    fn iso_week(self) -> (usize, usize) {
        let length = |year: usize| 365 + usize::from(Self::is_leap(year));
        let year = usize::from(self.year);
        let thursday = self.day_of_year() + 3;
        let since_monday = (self.weekday() + 6) % 7;
        match thursday.checked_sub(since_monday) {
            None => (year.saturating_sub(1), (thursday + length(year.saturating_sub(1)) - since_monday) / 7 + 1),
            Some(thursday) if thursday >= length(year) => (year + 1, 1),
            Some(thursday) => (year, thursday / 7 + 1),
        }
    }

    /// Days since Sunday (Sakamoto's method).
    fn weekday(self) -> usize {
        const SHIFT: [usize; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let month = usize::from(self.month.clamp(1, 12));
        let year = usize::from(self.year) - usize::from(month < 3 && self.year > 0);
        (year + year / 4 - year / 100 + year / 400 + SHIFT[month - 1] + usize::from(self.day)) % 7
    }
}

/// Parses flags; `None` if the width is too large or contradicts `-`.
fn flags(text: &str) -> Option<Flags> {
    let digits = text.trim_start_matches(['_', '-', '0', '^', '#']);
    let mut flags = Flags::default();
    if !digits.is_empty() {
        flags.width = digits.parse().ok().filter(|width| *width <= WIDEST)?;
    }
    for flag in text[..text.len() - digits.len()].chars() {
        match flag {
            '^' => flags.is_upper = true,
            '#' => flags.swaps_case = true,
            pad => flags.pad = Some(pad),
        }
    }
    (flags.pad != Some('-') || flags.width == 0).then_some(flags)
}

fn padded(text: &str, fill: char, width: usize) -> String {
    let missing = width.saturating_sub(text.len());
    std::iter::repeat_n(fill, missing).chain(text.chars()).collect()
}
