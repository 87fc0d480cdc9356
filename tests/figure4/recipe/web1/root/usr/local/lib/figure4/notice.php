<?php
// What the page and the warm-up both need: the row, the file and the editors' group.

function settings(): array
{
    return parse_ini_file('/etc/figure4/app.ini', true);
}

function notice_row(array $settings): string
{
    $database = @pg_connect($settings['database']['url']);
    if ($database === false) {
        throw new RuntimeException(error_get_last()['message'] ?? 'no connection to the database');
    }
    $rows = pg_query($database, 'SELECT body FROM notices WHERE id = 42');
    return pg_fetch_result($rows, 0, 0);
}

function notice_file(array $settings): string
{
    $text = @file_get_contents($settings['share']['notice']);
    if ($text === false) {
        throw new RuntimeException(error_get_last()['message'] ?? 'no file on the share');
    }
    return trim($text);
}

function editors(array $settings): string
{
    $group = posix_getgrnam($settings['directory']['editors']);
    if ($group === false) {
        throw new RuntimeException("no group {$settings['directory']['editors']}");
    }
    return implode(', ', $group['members']);
}
