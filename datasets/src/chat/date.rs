//! The day that templates are told.

/// A day. The default is the one that Llama 3 templates name when they are told none.
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

impl Date {
    /// The day as `strftime` writes it; the time of day is midnight.
    ///
    /// # Errors
    /// A code that is not known; the message names it.
    pub(super) fn format(self, format: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            if letter == '%' {
                let code = letters.next().unwrap_or('%');
                out.push_str(&self.field(code).ok_or_else(|| format!("strftime_now does not know %{code}"))?);
            } else {
                out.push(letter);
            }
        }
        Ok(out)
    }

    fn field(self, code: char) -> Option<String> {
        let Self { year, month, day } = self;
        let month_name = MONTHS.get(usize::from(month).checked_sub(1)?)?;
        let day_name = DAYS[self.weekday()];
        Some(match code {
            'Y' => format!("{year:04}"),
            'y' => format!("{:02}", year % 100),
            'm' => format!("{month:02}"),
            'd' => format!("{day:02}"),
            'e' => format!("{day:2}"),
            'B' => (*month_name).to_owned(),
            'b' | 'h' => month_name[..3].to_owned(),
            'A' => day_name.to_owned(),
            'a' => day_name[..3].to_owned(),
            'F' => format!("{year:04}-{month:02}-{day:02}"),
            'H' | 'M' | 'S' => "00".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }

    /// Days since Sunday (Sakamoto's method).
    fn weekday(self) -> usize {
        const SHIFT: [usize; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let month = usize::from(self.month.clamp(1, 12));
        let year = usize::from(self.year) - usize::from(month < 3 && self.year > 0);
        (year + year / 4 - year / 100 + year / 400 + SHIFT[month - 1] + usize::from(self.day)) % 7
    }
}
