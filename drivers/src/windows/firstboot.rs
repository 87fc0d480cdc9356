//! What Windows does itself at its first start on the new hardware: take up the other drivers,
//! give the new cards the addresses of the old ones, bring disks online, and forget it all.

use std::fmt::Write as _;

use lifeboat_hive::{EditError, Editor};

use super::boot_drivers::below;
use super::network::{Assignment, mask};
use super::settings::DRIVER_FOLDER;
use super::system::System;

/// The service's name.
pub const SERVICE: &str = "LifeboatFirstBoot";
/// Its directory, below that of Windows.
pub const FOLDER: &str = "Lifeboat";

/// The service that starts the script. It ends with a complaint in the log of Windows, because a
/// command interpreter does not answer the service manager; what it started goes on.
pub fn add_service(editor: &mut Editor, set: &str) -> Result<(), EditError> {
    let mut service = below(editor, format!("{set}\\Services\\{SERVICE}"));
    service.number("Type", 0x10)?;
    service.number("Start", 2)?;
    service.number("ErrorControl", 0)?;
    service.expandable(
        "ImagePath",
        &format!("%SystemRoot%\\System32\\cmd.exe /c start \"Lifeboat\" /b %SystemRoot%\\System32\\cmd.exe /c %SystemRoot%\\{FOLDER}\\firstboot.cmd"),
    )?;
    service.text("ObjectName", "LocalSystem")?;
    service.text("DisplayName", "Lifeboat: first start on new hardware")
}

/// Its scripts by path below the directory of Windows.
pub fn scripts(system: &System, assignments: &[Assignment]) -> Vec<(String, Vec<u8>)> {
    let script = |text: String| text.replace('\n', "\r\n").into_bytes();
    let mut scripts = vec![(
        format!("{FOLDER}/firstboot.cmd"),
        script(command_script(system, assignments)),
    )];
    if system.version >= (6, 1) {
        let text = script(power_shell_script(assignments));
        scripts.push((format!("{FOLDER}/firstboot.ps1"), text));
    }
    scripts
}

/// A reboot that another installation waits for makes pnputil refuse for a while (249).
fn command_script(system: &System, assignments: &[Assignment]) -> String {
    let mut text = format!(
        "@echo off
setlocal
set DIR=%SystemRoot%\\{FOLDER}
set LOG=%DIR%\\firstboot.log
echo %DATE% %TIME% begin >> \"%LOG%\"
if not exist %SystemRoot%\\System32\\pnputil.exe goto network
for /d %%D in (%SystemRoot%\\{DRIVER_FOLDER}\\*) do for %%I in (%%D\\*.inf) do call :add \"%%I\"
goto network

:add
set TRY=0
:again
pnputil -i -a %1 >> \"%LOG%\" 2>&1
set RC=%ERRORLEVEL%
echo pnputil %1: %RC% >> \"%LOG%\"
if not \"%RC%\"==\"249\" goto :eof
set /a TRY=TRY+1
if %TRY% geq 30 goto :eof
ping -n 11 127.0.0.1 > nul
goto again

:network
"
    );
    if system.version >= (6, 1) {
        text.push_str(
            "%SystemRoot%\\System32\\WindowsPowerShell\\v1.0\\powershell.exe -NoProfile -NonInteractive \
             -ExecutionPolicy Bypass -File \"%DIR%\\firstboot.ps1\" >> \"%LOG%\" 2>&1\n",
        );
    } else {
        old_network(&mut text, assignments);
    }
    let _ = write!(
        text,
        "echo %DATE% %TIME% end >> \"%LOG%\"\nsc delete {SERVICE} >> \"%LOG%\" 2>&1\n"
    );
    text
}

/// Without PowerShell: XP, 2003, Vista, 2008.
fn old_network(text: &mut String, assignments: &[Assignment]) {
    for assignment in assignments {
        let interface = &assignment.interface;
        let Some(((address, prefix), more)) = interface.addresses.split_first() else {
            continue;
        };
        let gateway = interface.gateways.first();
        let gateway = gateway.map_or(String::new(), |gateway| {
            format!(" gateway={gateway} gwmetric=1")
        });
        let _ = write!(
            text,
            "for /f \"tokens=2 delims==\" %%N in ('wmic nic where \"MACAddress='{}' and NetConnectionID is not null\" get NetConnectionID /value') do (\n\
             \x20 netsh interface ip set address name=\"%%N\" source=static addr={address} mask={}{gateway}\n",
            assignment.mac.to_ascii_uppercase(),
            mask(*prefix)
        );
        for (address, prefix) in more {
            let _ = writeln!(
                text,
                "  netsh interface ip add address name=\"%%N\" addr={address} mask={}",
                mask(*prefix)
            );
        }
        for (index, server) in interface.name_servers.iter().enumerate() {
            let _ = match index {
                0 => writeln!(
                    text,
                    "  netsh interface ip set dns name=\"%%N\" source=static addr={server}"
                ),
                _ => writeln!(
                    text,
                    "  netsh interface ip add dns name=\"%%N\" addr={server}"
                ),
            };
        }
        text.push_str(")\n");
    }
}

fn power_shell_script(assignments: &[Assignment]) -> String {
    let mut text = String::from(
        "$ErrorActionPreference = 'Continue'
function Find-Card($mac) {
  foreach ($attempt in 1..60) {
    $card = Get-WmiObject Win32_NetworkAdapter | Where-Object { $_.MACAddress -eq $mac -and $_.NetConnectionID } | Select-Object -First 1
    if ($card) { return $card.NetConnectionID }
    Start-Sleep -Seconds 5
  }
  Write-Output \"no card with the address $mac\"
}
function Clear-Old($guid) {
  $key = \"HKLM:\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\\Interfaces\\$guid\"
  if (Test-Path $key) {
    Set-ItemProperty $key EnableDHCP 1
    Remove-ItemProperty $key IPAddress, SubnetMask, DefaultGateway -ErrorAction SilentlyContinue
  }
}
",
    );
    for assignment in assignments {
        card_commands(&mut text, assignment);
    }
    text.push_str(
        "'san policy=OnlineAll' | diskpart
if (Get-Command Get-Disk -ErrorAction SilentlyContinue) {
  Get-Disk | Where-Object { $_.IsOffline } | Set-Disk -IsOffline $false
  Get-Disk | Where-Object { $_.IsReadOnly } | Set-Disk -IsReadOnly $false
} else {
  Get-WmiObject Win32_DiskDrive | ForEach-Object {
    \"select disk $($_.Index)\", 'online disk noerr', 'attributes disk clear readonly noerr' | diskpart
  }
}
",
    );
    text
}

fn card_commands(text: &mut String, assignment: &Assignment) {
    let interface = &assignment.interface;
    let Some(((address, prefix), more)) = interface.addresses.split_first() else {
        return;
    };
    let gateway = interface.gateways.first();
    let gateway = gateway.map_or(String::new(), |gateway| {
        format!(" gateway={gateway} gwmetric=1")
    });
    let guid: String = interface
        .guid
        .chars()
        .filter(|character| character.is_ascii_hexdigit() || "{}-".contains(*character))
        .collect();
    let _ = write!(
        text,
        "$name = Find-Card '{}'\nif ($name) {{\n  Clear-Old '{guid}'\n  \
         netsh interface ipv4 set address name=\"$name\" source=static address={address} mask={}{gateway}\n",
        assignment.mac.to_ascii_uppercase(),
        mask(*prefix)
    );
    for (address, prefix) in more {
        let _ = writeln!(
            text,
            "  netsh interface ipv4 add address name=\"$name\" address={address} mask={}",
            mask(*prefix)
        );
    }
    for (index, server) in interface.name_servers.iter().enumerate() {
        let family = if server.is_ipv6() { "ipv6" } else { "ipv4" };
        let _ = match index {
            0 => writeln!(
                text,
                "  netsh interface {family} set dnsservers name=\"$name\" source=static address={server} validate=no"
            ),
            _ => writeln!(
                text,
                "  netsh interface {family} add dnsservers name=\"$name\" address={server} validate=no"
            ),
        };
    }
    text.push_str("}\n");
}
