//! What became of reading captured volumes again.

use std::path::{Path, PathBuf};

use lifeboat_images::CapturedVolume;
use sqlx::Row;

use super::{Store, Stored, from_json, statement, to_json};
use crate::integrity::Record;

impl Store {
    /// All captured volumes of the catalogue, by the path in their site.
    pub async fn volumes(&self) -> Stored<Vec<(PathBuf, CapturedVolume)>> {
        let rows = sqlx::query("SELECT path, volume FROM volumes ORDER BY path")
            .fetch_all(&self.pool)
            .await
            .map_err(statement("list volumes"))?;
        let entry = |row: &sqlx::sqlite::SqliteRow| {
            let volume = from_json("volume", &row.get::<String, _>("volume"))?;
            Ok((PathBuf::from(row.get::<String, _>("path")), volume))
        };
        rows.iter().map(entry).collect()
    }

    /// Forgets a captured volume.
    pub async fn forget_volume(&self, path: &Path) -> Stored<()> {
        for statement_of in [
            "DELETE FROM verifications WHERE path = ?",
            "DELETE FROM volumes WHERE path = ?",
        ] {
            sqlx::query(statement_of)
                .bind(path.to_string_lossy())
                .execute(&self.pool)
                .await
                .map(drop)
                .map_err(statement("forget a volume"))?;
        }
        Ok(())
    }

    /// What is known about the state of a captured volume.
    pub async fn verification(&self, path: &Path) -> Stored<Option<Record>> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT record FROM verifications WHERE path = ?")
                .bind(path.to_string_lossy())
                .fetch_optional(&self.pool)
                .await
                .map_err(statement("look up a verification"))?;
        text.map(|text| from_json("verification", &text))
            .transpose()
    }

    /// Records the state of a captured volume.
    pub async fn put_verification(&self, path: &Path, record: &Record) -> Stored<()> {
        sqlx::query("INSERT OR REPLACE INTO verifications (path, record) VALUES (?, ?)")
            .bind(path.to_string_lossy())
            .bind(to_json("verification", record)?)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("record a verification"))
    }
}
