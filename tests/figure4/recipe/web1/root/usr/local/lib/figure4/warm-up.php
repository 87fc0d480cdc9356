<?php
// Fetches once what the first visitor would have to wait for, and says all that is missing.
require '/usr/local/lib/figure4/notice.php';

$settings = settings();
$found = [];
$complete = true;
foreach (['editors', 'notice_row', 'notice_file'] as $part) {
    try {
        $found[] = $part($settings);
    } catch (RuntimeException $failure) {
        fwrite(STDERR, $failure->getMessage() . "\n");
        $complete = false;
    }
}
if (!$complete) {
    exit(1);
}
[$editors, $row, $file] = $found;
echo "warm: read $row from the database and $file from the share; editors: $editors\n";
