//! Asterisk's configuration files, written anew for every run.

use std::fs;
use std::path::{Path, PathBuf};

use super::{PHONE_PASSWORD, PHONES, SECURE_PHONE};
use crate::certificates::Certificates;
use crate::layout;
use crate::run::Run;

/// Writes all files; returns the path of `asterisk.conf`.
pub(super) fn write(run: &Run, sockets: &Path, lines: &[&str]) -> anyhow::Result<PathBuf> {
    for folder in ["etc", "lib", "spool", "log", "cache"] {
        run.subfolder(&format!("asterisk/{folder}"))?;
    }
    let files = [
        ("asterisk.conf", directories(run, sockets)),
        ("modules.conf", modules()),
        ("logger.conf", LOGGER.to_owned()),
        ("rtp.conf", RTP.to_owned()),
        ("pjsip.conf", pjsip(&Certificates::of(run)?, lines)),
        ("extensions.conf", extensions(lines)),
        ("features.conf", FEATURES.to_owned()),
        ("manager.conf", manager(&Certificates::of(run)?)),
    ];
    let etc = run.path("asterisk/etc");
    for (name, contents) in files {
        fs::write(etc.join(name), contents)?;
    }
    // Optional files whose absence Asterisk reports as errors.
    let optional = "acl ccss cdr cel indications minivm musiconhold pjproject udptl";
    for name in optional.split(' ') {
        let name = format!("{name}.conf");
        fs::write(etc.join(name), "")?;
    }
    Ok(etc.join("asterisk.conf"))
}

fn directories(run: &Run, sockets: &Path) -> String {
    let own = run.path("asterisk");
    let own = own.display();
    let prefix = layout::debian_sid();
    let prefix = prefix.display();
    let sockets = sockets.display();
    format!(
        "[directories]
astetcdir => {own}/etc
astmoddir => {prefix}/usr/lib/x86_64-linux-gnu/asterisk/modules
astvarlibdir => {own}/lib
astdbdir => {own}/lib
astkeydir => {own}/lib
astdatadir => {prefix}/usr/share/asterisk
astagidir => {own}/lib
astspooldir => {own}/spool
astrundir => {sockets}
astlogdir => {own}/log
astcachedir => {own}/cache
astsbindir => {prefix}/usr/sbin

[options]
verbose = 5
nocolor = yes
systemname = testbed
"
    )
}

/// Only what the extensions need: a full load takes seconds and complains about missing files.
fn modules() -> String {
    let modules = "res_pjproject res_sorcery_config res_sorcery_memory res_sorcery_astdb \
        res_pjsip res_pjsip_session res_pjsip_authenticator_digest \
        res_pjsip_outbound_authenticator_digest res_pjsip_endpoint_identifier_ip \
        res_pjsip_endpoint_identifier_user res_pjsip_registrar res_pjsip_sdp_rtp \
        res_pjsip_caller_id res_pjsip_diversion res_pjsip_dtmf_info res_pjsip_header_funcs \
        res_pjsip_logger res_pjsip_nat res_pjsip_refer res_pjsip_rfc3326 res_pjsip_dlg_options \
        res_pjsip_pubsub res_pjsip_outbound_publish res_pjsip_exten_state res_pjsip_mwi \
        res_pjsip_mwi_body_generator res_pjsip_dialog_info_body_generator app_minivm \
        res_clioriginate res_rtp_asterisk res_srtp res_timing_timerfd res_musiconhold res_format_attr_opus \
        chan_pjsip codec_ulaw codec_alaw codec_g722 codec_resample \
        codec_opus_open_source format_wav format_pcm bridge_simple bridge_native_rtp \
        bridge_softmix bridge_holding bridge_builtin_features pbx_config \
        app_dial app_echo app_mixmonitor app_originate app_playback app_playtones app_read \
        app_record app_senddtmf app_stack app_transfer app_verbose \
        func_callerid func_channel func_db func_devstate func_global func_hangupcause func_logic func_strings";
    let mut file = String::from("[modules]\nautoload=no\n");
    for module in modules.split_whitespace() {
        file.push_str(&format!("load => {module}.so\n"));
    }
    file
}

const LOGGER: &str = "[general]\n[logfiles]\nconsole => notice,warning,error,verbose,dtmf\n";

/// Away from the gateway's 20000 to 29999 on the same address.
const RTP: &str = "[general]\nrtpstart=10000\nrtpend=10999\nstrictrtp=yes\n";

/// A desk phone's attended transfer: `*2`, the number, and hanging up. Silent: the prompts are not installed, and without
/// one that is asked for there is no transfer.
const FEATURES: &str = "[general]
transferannouncesound=
xfersound=
xferfailsound=
transferdigittimeout=3
[featuremap]
atxfer => *2
";

/// Its manager interface, in the clear and over TLS.
fn manager(certificates: &Certificates) -> String {
    let (certificate, key) = (
        certificates.certificate("asterisk"),
        certificates.key("asterisk"),
    );
    format!(
        "[general]
enabled=yes
webenabled=no
bindaddr=127.0.0.1
port=5038
tlsenable=yes
tlsbindaddr=127.0.0.1:5039
tlscertfile={certificate}
tlsprivatekey={key}

[mxtrunk]
secret={MANAGER_SECRET}
read=system,call,reporting
write=system,call,reporting
",
        certificate = certificate.display(),
        key = key.display(),
    )
}

/// The secret of the manager account `mxtrunk`.
pub const MANAGER_SECRET: &str = "manager-of-the-pbx";

/// A line that registers is a desk phone like any other, with a hint that says whether it is in a call.
fn extensions(lines: &[&str]) -> String {
    let mut file = String::from(EXTENSIONS);
    for phone in PHONES {
        file.push_str(&format!("\nexten => {phone},hint,PJSIP/{phone}\n"));
    }
    for line in lines {
        file.push_str(&format!(
            "\nexten => {line},hint,PJSIP/{line}&Custom:DND{line}\n"
        ));
        file.push_str(&format!("exten => {line},1,Dial(PJSIP/{line},60)\n"));
        file.push_str(" same => n,Hangup(${HANGUPCAUSE})\n");
    }
    file
}

fn pjsip(certificates: &Certificates, lines: &[&str]) -> String {
    let mut file = String::from(PJSIP);
    file.push_str(&format!(
        "
[tls]
type=transport
protocol=tls
bind={TLS}
cert_file={certificate}
priv_key_file={key}
ca_list_file={authority}
method=tlsv1_2
verify_client=yes
verify_server=yes
require_client_cert=yes
",
        TLS = super::TLS,
        certificate = certificates.certificate("asterisk").display(),
        key = certificates.key("asterisk").display(),
        authority = certificates.authority().display(),
    ));
    let phones = PHONES.into_iter().chain([SECURE_PHONE]);
    for phone in phones.chain(lines.iter().copied()) {
        let encryption = match phone {
            SECURE_PHONE => "media_encryption=sdes\n",
            _ => "",
        };
        file.push_str(&format!(
            "
[{phone}]
type=endpoint
context=site
disallow=all
allow=ulaw,alaw
auth={phone}
aors={phone}
direct_media=no
rewrite_contact=yes
moh_passthrough=yes
callerid=Desk {phone} <{phone}>
{encryption}
[{phone}]
type=auth
auth_type=userpass
username={phone}
password={PHONE_PASSWORD}

[{phone}]
type=aor
max_contacts=1
remove_existing=yes
mailboxes={phone}@{MAILBOXES}
"
        ));
    }
    file
}

/// Where the phones' mailboxes are.
pub(super) const MAILBOXES: &str = "site";

/// What [`PJSIP`] shows to a gateway that asks for a password: user name and password.
pub const SHOWS: (&str, &str) = ("asterisk", "trunk-of-the-pbx");

/// Phones and the trunk share 127.0.0.1, so who somebody is goes by name first. A gateway that names itself so is the
/// same trunk, and talks over SRTP or not at all; another name is the trunk over TLS.
const PJSIP: &str = "[global]
type=global
endpoint_identifier_order=auth_username,username,header,ip
user_agent=Asterisk testbed

[udp]
type=transport
protocol=udp
bind=127.0.0.1:5060

[tcp]
type=transport
protocol=tcp
bind=127.0.0.1:5060

[gateway]
type=endpoint
context=site
transport=udp
disallow=all
allow=alaw,ulaw,g722
aors=gateway
direct_media=no
send_pai=yes
trust_id_inbound=yes
timers=yes
timers_min_se=90
allow_subscribe=yes
subscribe_context=site
moh_passthrough=yes
outbound_auth=to-gateway

[to-gateway]
type=auth
auth_type=userpass
username=asterisk
password=trunk-of-the-pbx

[gateway]
type=aor
contact=sip:127.0.0.1:5070

[gateway]
type=identify
endpoint=gateway
match=127.0.0.1

[secure]
type=endpoint
context=site
transport=udp
disallow=all
allow=alaw,ulaw
aors=gateway
direct_media=no
send_pai=yes
trust_id_inbound=yes
media_encryption=sdes

[secure]
type=identify
endpoint=secure
match_header=User-Agent: mxtrunk-secure

[over-tls]
type=endpoint
context=site
transport=tls
disallow=all
allow=alaw,ulaw
aors=over-tls
direct_media=no
send_pai=yes
trust_id_inbound=yes
moh_passthrough=yes
media_encryption=sdes

[over-tls]
type=aor
contact=sip:127.0.0.1:5071\\;transport=tls

[over-tls]
type=identify
endpoint=over-tls
match_header=User-Agent: mxtrunk-tls
";

const EXTENSIONS: &str = "[general]
static=yes
writeprotect=yes

[globals]
CLIP=
RECORDING=
DIGITS=

[site]
exten => 600,1,Answer()
 same => n,Echo()
 same => n,Hangup()

exten => 601,1,Answer()
 same => n,Playback(${CLIP})
 same => n,Wait(1)
 same => n,Hangup()

; q: no beep, the prompts are not where Record looks for it
exten => 602,1,Answer()
 same => n,Record(${RECORDING}.wav,0,120,kq)
 same => n,Hangup()

exten => 603,1,Hangup(17)

exten => 604,1,Ringing()
 same => n,Wait(90)
 same => n,Hangup(19)

exten => 605,1,Hangup(21)
exten => 606,1,Hangup(34)

exten => 607,1,Answer()
 same => n,Wait(1)
 same => n,Hangup(16)

exten => 608,1,Progress()
 same => n,Playback(${CLIP},noanswer)
 same => n,Hangup(17)

exten => 614,1,Progress()
 same => n,Playback(${CLIP},noanswer)
 same => n,Answer()
 same => n,Echo()
 same => n,Hangup()

exten => 609,1,Answer()
 same => n,Read(HEARD,,4,,1,15)
 same => n,Set(GLOBAL(DIGITS)=${HEARD})
 same => n,Wait(1)
 same => n,Hangup()

exten => 610,1,Answer()
 same => n,Originate(PJSIP/${CALLERID(num)}@gateway,exten,site,601,1,30,a)
 same => n,Wait(1)
 same => n,Hangup()

; Feature codes, as FreePBX has them.
exten => *78,1,Answer()
 same => n,Set(DB(DND/${CALLERID(num)})=YES)
 same => n,Hangup()

exten => *79,1,Answer()
 same => n,NoOp(${DB_DELETE(DND/${CALLERID(num)})})
 same => n,Hangup()

exten => _*72X.,1,Answer()
 same => n,Set(DB(CF/${CALLERID(num)})=${EXTEN:3})
 same => n,Hangup()

exten => *73,1,Answer()
 same => n,NoOp(${DB_DELETE(CF/${CALLERID(num)})})
 same => n,Hangup()

exten => 613,1,Answer()
 same => n,Wait(1)
 same => n,Transfer(PJSIP/sip:600@127.0.0.1:5060)
 same => n,Wait(20)
 same => n,Hangup()

exten => _100X,1,Dial(PJSIP/${EXTEN},60)
 same => n,Hangup(${HANGUPCAUSE})

exten => _2XXX,1,Dial(PJSIP/${EXTEN}@gateway,120)
 same => n,Hangup(${HANGUPCAUSE})

; Who calls may transfer by keys (T)
exten => _52XXX,1,Dial(PJSIP/${EXTEN:1}@gateway,120,T)
 same => n,Hangup(${HANGUPCAUSE})

exten => _4XXX,1,Dial(PJSIP/2${EXTEN:1}@over-tls,120)
 same => n,Hangup(${HANGUPCAUSE})

exten => _3XXX,1,Dial(PJSIP/2${EXTEN:1}@secure,120)
 same => n,Hangup(${HANGUPCAUSE})
";
