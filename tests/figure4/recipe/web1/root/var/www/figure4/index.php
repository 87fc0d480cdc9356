<?php
require '/usr/local/lib/figure4/notice.php';

header('Content-Type: text/plain');
try {
    $settings = settings();
    $row = notice_row($settings);
    $file = notice_file($settings);
} catch (RuntimeException $failure) {
    error_log($failure->getMessage());
    http_response_code(503);
    exit("temporarily unavailable\n");
}
echo "From the database: $row\nFrom the share: $file\n";
