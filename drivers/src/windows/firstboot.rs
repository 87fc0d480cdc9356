//! What Windows does itself at its first start on the new hardware: take up the other drivers,
//! give the new cards the addresses of the old ones, bring disks online, and forget it all.

use std::fmt::Write as _;

use lifeboat_hive::{EditError, Editor};

use super::boot_drivers::below;
use super::network::{Assignment, StaticInterface, mask};
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
set LEFT=
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
             -ExecutionPolicy Bypass -File \"%DIR%\\firstboot.ps1\" >> \"%LOG%\" 2>&1\n\
             if not \"%ERRORLEVEL%\"==\"0\" set LEFT=1\n",
        );
    } else {
        old_network(&mut text, assignments.len());
    }
    let _ = write!(
        text,
        "echo %DATE% %TIME% end >> \"%LOG%\"
if defined LEFT goto keep
sc delete {SERVICE} >> \"%LOG%\" 2>&1
goto :eof

:keep
echo an address is not set; the next start tries again >> \"%LOG%\"
goto :eof
"
    );
    if system.version < (6, 1) {
        for (card, assignment) in assignments.iter().enumerate() {
            card_routine(&mut text, card, assignment);
        }
    }
    text
}

/// Without PowerShell: XP, 2003, Vista, 2008. Windows may find its cards late.
fn old_network(text: &mut String, cards: usize) {
    text.push_str("set ROUND=0\n:round\nset LEFT=\n");
    for card in 0..cards {
        let _ = writeln!(text, "call :card{card}");
    }
    text.push_str(
        "if not defined LEFT goto done
set /a ROUND=ROUND+1
if %ROUND% geq 60 goto done
ping -n 6 127.0.0.1 > nul
goto round
:done
",
    );
}

/// Gives one card its addresses, unless that is done, and else says that something is left.
///
/// `wmic` ends its lines with one carriage return too many, which a second loop takes away, and
/// waits for its input to end. What netsh adds it may have added in a former round.
fn card_routine(text: &mut String, card: usize, assignment: &Assignment) {
    let interface = &assignment.interface;
    let Some(((address, prefix), more)) = interface.addresses.split_first() else {
        return;
    };
    let gateway = first_gateway(interface);
    let _ = write!(
        text,
        "\n:card{card}
if defined DONE{card} goto :eof
for /f \"tokens=2 delims==\" %%A in ('wmic nic where \"MACAddress='{}' and NetConnectionID is not null\" get NetConnectionID /value ^< nul') do for /f \"delims=\" %%N in (\"%%A\") do (
  netsh interface ip set address name=\"%%N\" source=static addr={address} mask={}{gateway} >> \"%LOG%\" 2>&1 && set DONE{card}=1
",
        assignment.mac.to_ascii_uppercase(),
        mask(*prefix)
    );
    let mut line = |command: String| {
        let _ = writeln!(text, "  netsh interface ip {command} >> \"%LOG%\" 2>&1");
    };
    for (address, prefix) in more {
        let mask = mask(*prefix);
        line(format!(
            "add address name=\"%%N\" addr={address} mask={mask}"
        ));
    }
    for gateway in further_gateways(interface) {
        line(format!("add address name=\"%%N\" {gateway}"));
    }
    for (index, server) in interface.name_servers.iter().enumerate() {
        line(match index {
            0 => format!("set dns name=\"%%N\" source=static addr={server}"),
            _ => format!("add dns name=\"%%N\" addr={server}"),
        });
    }
    let _ = write!(text, ")\nif not defined DONE{card} set LEFT=1\ngoto :eof\n");
}

fn first_gateway(interface: &StaticInterface) -> String {
    let gateway = interface.gateways.first();
    gateway.map_or(String::new(), |gateway| {
        format!(" gateway={gateway} gwmetric=1")
    })
}

/// Each is asked after those before it.
fn further_gateways(interface: &StaticInterface) -> impl Iterator<Item = String> {
    let further = interface.gateways.iter().zip(1..).skip(1);
    further.map(|(gateway, metric)| format!("gateway={gateway} gwmetric={metric}"))
}

fn power_shell_script(assignments: &[Assignment]) -> String {
    let mut text = String::from(
        "$ErrorActionPreference = 'Continue'
$left = 0
function Find-Card($mac) {
  foreach ($attempt in 1..60) {
    $card = Get-WmiObject Win32_NetworkAdapter | Where-Object { $_.MACAddress -eq $mac -and $_.NetConnectionID } | Select-Object -First 1
    if ($card) { return $card.NetConnectionID }
    Start-Sleep -Seconds 5
  }
  Write-Host \"no card with the address $mac\"
}
function Has-Address($name, $address) {
  $lines = netsh interface ipv4 show addresses name=$name
  [bool]($lines | Where-Object { ($_ -split '\\s+') -contains $address })
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
exit $left
",
    );
    text
}

fn card_commands(text: &mut String, assignment: &Assignment) {
    let interface = &assignment.interface;
    let Some(((address, prefix), more)) = interface.addresses.split_first() else {
        return;
    };
    let gateway = first_gateway(interface);
    let guid: String = interface
        .guid
        .chars()
        .filter(|character| character.is_ascii_hexdigit() || "{}-".contains(*character))
        .collect();
    let _ = write!(
        text,
        "$name = Find-Card '{}'\nif ($name) {{\n  Clear-Old '{guid}'\n  \
         netsh interface ipv4 set address name=\"$name\" source=static address={address} mask={}{gateway}\n  \
         if ($LASTEXITCODE -and -not (Has-Address $name '{address}')) {{ $left += 1 }}\n",
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
    for gateway in further_gateways(interface) {
        let _ = writeln!(
            text,
            "  netsh interface ipv4 add address name=\"$name\" {gateway}"
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
    text.push_str("} else { $left += 1 }\n");
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::windows::report::WindowsReport;

    fn script(version: (u32, u32), name: &str) -> String {
        let system = System {
            report: WindowsReport::default(),
            version,
            control_sets: Vec::new(),
            interfaces: Vec::new(),
        };
        let address = |last| (Ipv4Addr::new(10, 0, 0, last), 24);
        let interface = StaticInterface {
            guid: "{1}".to_owned(),
            mac: None,
            addresses: vec![address(5), address(6)],
            gateways: vec![Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 9)],
            name_servers: vec![Ipv4Addr::new(10, 0, 0, 2).into()],
        };
        let assignment = Assignment {
            mac: "00:0c:29:00:00:01".to_owned(),
            interface,
        };
        let two = [assignment.clone(), assignment];
        let (_, content) = scripts(&system, &two)
            .into_iter()
            .find(|(path, _)| path.ends_with(name))
            .unwrap();
        String::from_utf8(content).unwrap()
    }

    #[test]
    fn old_windows_tries_until_its_addresses_are_set() {
        let text = script((5, 1), "firstboot.cmd");
        assert!(text.lines().all(|line| !line.contains('\n')) && text.contains("\r\n"));
        let lines: Vec<&str> = text.split("\r\n").collect();
        let place = |wanted: &str| {
            let place = lines.iter().position(|line| *line == wanted);
            place.unwrap_or_else(|| panic!("{wanted} in {text}"))
        };
        // Every card is tried until nothing is left, and only then the service goes.
        let (round, call, again) = (place(":round"), place("call :card1"), place("goto round"));
        assert!(round < call && call < again && again < place(":done"));
        let keep = place("if defined LEFT goto keep");
        assert!(place(":done") < keep && lines[keep + 1].starts_with("sc delete"));
        assert!(lines[place(":keep") - 2].starts_with("goto :eof"));
        let card = &lines[place(":card1")..];
        assert_eq!(card[1], "if defined DONE1 goto :eof");
        let start =
            "for /f \"tokens=2 delims==\" %%A in ('wmic nic where \"MACAddress='00:0C:29:00:00:01'";
        let end = "^< nul') do for /f \"delims=\" %%N in (\"%%A\") do (";
        assert!(
            card[2].starts_with(start) && card[2].ends_with(end),
            "{text}"
        );
        let address = "addr=10.0.0.5 mask=255.255.255.0 gateway=10.0.0.1 gwmetric=1";
        assert!(
            card[3].contains(address) && card[3].ends_with("&& set DONE1=1"),
            "{text}"
        );
        assert!(card[4].contains("add address") && card[4].contains("10.0.0.6"));
        assert!(card[5].contains("add address name=\"%%N\" gateway=10.0.0.9 gwmetric=2"));
        assert!(card[6].contains("set dns") && card[6].contains("10.0.0.2"));
        assert_eq!(
            card[7..10],
            [")", "if not defined DONE1 set LEFT=1", "goto :eof"]
        );
    }

    #[test]
    fn newer_windows_says_what_is_left() {
        let text = script((6, 1), "firstboot.cmd");
        assert!(text.contains(
            "firstboot.ps1\" >> \"%LOG%\" 2>&1\r\nif not \"%ERRORLEVEL%\"==\"0\" set LEFT=1"
        ));
        assert!(!text.contains("wmic"));
        let text = script((6, 1), "firstboot.ps1");
        assert_eq!(text.matches("} else { $left += 1 }").count(), 2);
        // An address that netsh refused and that is not there is left to do.
        let refused = "if ($LASTEXITCODE -and -not (Has-Address $name '";
        assert_eq!(text.matches(refused).count(), 2, "{text}");
        let second = "ipv4 add address name=\"$name\" gateway=10.0.0.9 gwmetric=2";
        assert_eq!(text.matches(second).count(), 2, "{text}");
        // What a function writes is its answer: words there would pass for a card.
        assert!(!text.contains("Write-Output"));
        assert!(text.ends_with("exit $left\r\n"));
    }
}
