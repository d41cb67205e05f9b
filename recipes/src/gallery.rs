//! Pictures in files.
use std::path::{Path, PathBuf};

use datasets::images::Pixels;
use train::pictures::{Picture, contact_sheet, save_png};
use train::write_lines;

use crate::pictures::picture;
use crate::sampled::Sampled;
use crate::{Failure, Reporter};

/// A file with a line about each picture, the pictures in a folder beside it, and all of them on one sheet.
pub(crate) struct Gallery {
    out: PathBuf,
    folder: PathBuf,
    lines: Vec<Sampled>,
    sheet: Vec<Picture>,
}

impl Gallery {
    /// Makes the folder.
    pub(crate) fn create(out: &Path) -> Result<Self, Failure> {
        let folder = out.with_extension("");
        std::fs::create_dir_all(&folder).map_err(|e| Failure::failed(format!("{}: {e}", folder.display())))?;
        Ok(Self { out: out.to_owned(), folder, lines: Vec::new(), sheet: Vec::new() })
    }

    /// Saves a picture under a name; the line gets where it is, beside the file of lines.
    pub(crate) fn push(
        &mut self,
        (name, caption): (&str, &str),
        pixels: &Pixels,
        line: impl FnOnce(PathBuf) -> Sampled,
    ) -> Result<(), Failure> {
        if let Some(picture) = picture(caption, pixels) {
            save_png(&self.folder.join(name), &picture.pixels)?;
            self.sheet.push(picture);
        }
        self.lines.push(line(self.folder.file_name().map_or_else(PathBuf::new, PathBuf::from).join(name)));
        Ok(())
    }

    /// Writes the sheet and the lines, says where all is, and returns the lines.
    pub(crate) fn finish(self, reporter: &dyn Reporter) -> Result<Vec<Sampled>, Failure> {
        let sheet = self.out.with_extension("png");
        save_png(&sheet, &contact_sheet(&self.sheet, 8, 64))?;
        write_lines(&self.out, &self.lines)?;
        let (n, folder) = (self.lines.len(), self.folder.display());
        reporter.info(&format!("{n} pictures in {folder}, together in {}", sheet.display()));
        Ok(self.lines)
    }
}
