"""Texts to split into sentences: each language a list of texts, each text one sentence a line."""

WITH_SPACES = {
    "English": [
        """
Mr. and Mrs. Hale met Dr. Okoro at 3.30 p.m. on St. Patrick's Day.
The ticket was 3.5 dollars, i.e. half of what they paid before.
It was late.
Who had the key?
""",
        """
Write to help@example.com or see https://example.com/a.b?c=1 for more.
Version 2.1.3 runs on Python 3.12.
Install it with v1.0.2-rc.1 or later!
Then restart.
""",
        """
J. R. R. Tolkien wrote it, and W. B. Yeats read it.
The U.S. Senate voted on Jan. 5, 2021, at 10 a.m. in Washington, D.C.
They stayed until 6 p.m.
Nobody spoke.
""",
        """
"Are you coming?" she asked.
"No," he said, "not today."
He shut the door.
(It was raining.)
She waited...
Then she left.
""",
        """
See Fig. 3, Eq. 4 and pp. 12-15 of vol. 2 (cf. Smith et al. 2010).
The results, e.g. those of Table 1, are clear.
No. 7 is missing.
Is it lost?
No.
It was never there.
""",
        """
Wait... what did you say?
I said: "Stop."
Everyone stopped.
Well, almost everyone!
“It is over,” said the coach.
‘Really?’
""",
        """
The firm Bell & Sons Ltd. opened in 1990.
Acme Inc. bought it for $4.2 million.
Apples, pears, etc. are sold there.
They also sell bread, milk, etc.
The shop closes at 8.
""",
        """
Prof. Ada Lim (b. 1950) lives in the U.S. with her son.
He was born in the U.K.
They moved approx. ten years ago.
What a journey it was!
""",
        """
Use the file config.yaml in /etc/app.d/ to set it.
The value is .5 by default.
Do not use ../tmp here.
Press Ctrl+C.
The program ends.
""",
        """
The score was 2.5 vs. 3.1 in favor of Gen. Marsh.
Lt. Col. Reyes disagreed.
What happened next?!
Nobody knows…
The files are gone.
""",
        """
Vitamin C.
It helps.
I have one brother and two sisters.
My sister and I.
That is all.
She got an A.
He got a B.
""",
        """
yeah it was fun.
we went home at ten.
my brother said "no way!" and laughed.
i told him so.
""",
        """
The meeting (see p. 4) is on Dec. 12 at 9 a.m. in room 3.
Bring your I.D. card, please.
Questions?
Ask Ms. Finch.
""",
        """
1. Open the lid.
2. Pour in the water.
3. Wait.
""",
        """
He paid 1,000.50 dollars.
She paid 20.
I paid nothing.
Was that fair?
I think so!
[It was not.]
""",
        """
Mt. Everest is 8,848.86 m high.
Rev. King spoke at the church on Main St. yesterday.
Capt. Ito sailed on.
The sea was calm.
""",
    ],
    "German": [
        """
Herr Dr. Krüger kam am 3. Oktober um 9.30 Uhr nach Bonn.
Er blieb bis zum 15. November.
Dann fuhr er heim.
Warum so früh?
""",
        """
Viele Tiere, z. B. Hunde, Katzen u. a. Haustiere, sind teuer.
Das kostet ca. 3,50 Euro bzw. vier Franken.
D. h. wir warten.
Ist das klar?
""",
        """
„Komm her!“, rief sie.
„Ich komme nicht.“
Er blieb sitzen.
»Wie schade«, sagte Frau Prof. Lenz.
Niemand lachte.
""",
        """
Das Buch erschien im 19. Jahrhundert bei J. G. Cotta.
Der 2. Weltkrieg zerstörte die Stadt.
Heute leben dort 1,2 Mio. Menschen.
Es gibt Schulen, Parks usw.
Alles ist grün.
""",
        """
Siehe Abb. 4 und Kap. 2, vgl. auch Nr. 7 und S. 12 ff. im Anhang.
Die Hauptstr. 5 ist gesperrt.
Rufen Sie uns an: Tel. 030 12345.
Oder schreiben Sie an info@beispiel.de!
""",
        """
Caesar starb 44 v. Chr. in Rom.
Das ist lange her.
Wer weiß das noch?
Ich weiß es nicht ...
Vielleicht weiß es jemand anders.
""",
        """
Das geht i. d. R. schnell, d. h. in zwei Tagen.
Version 3.2 ist da.
Laden Sie sie von www.beispiel.de herunter.
Fertig!
""",
        """
Fr. Meier und Hr. Schulz kommen evtl. später.
Der Vertrag gilt inkl. Mehrwertsteuer ggf. länger.
Stimmt das?
Ja.
""",
        """
Er war der 1. Vorsitzende des Vereins (gegr. 1950).
Sie wohnt im 3. Stock.
Am 24. Dezember ist Heiligabend.
Wir freuen uns.
""",
    ],
    "French": [
        """
M. Dupont et Mme Leroy sont arrivés à 18 h 30.
Le prix est de 3,5 euros, c.-à-d. la moitié.
Qui a la clé ?
Personne !
""",
        """
« Viens ici ! » cria-t-elle.
Il dit : « Je ne viens pas. »
Puis il partit.
C'était fini…
Elle pleura.
""",
        """
Voir p. 12, fig. 3 et art. 5 du vol. 2.
Les fruits, p. ex. les pommes, sont bons.
Ils coûtent 1.200,50 francs env. par an.
C'est cher.
""",
        """
J. Verne naquit en 1828.
Il écrivit à contact@exemple.fr en 1905.
Impossible !
Mais pourquoi pas ?
On ne sait jamais.
""",
        """
Mgr. Blanc et Mlle. Noir habitent au 5 bd. Voltaire à Lyon.
Ils ont deux enfants, un chien, etc.
La maison est grande.
Êtes-vous déjà venus ?
""",
        """
La version 4.0.1 est sortie le 3 janv. 2024 sur www.exemple.fr.
Téléchargez-la.
« C'est gratuit », dit-il.
Bien sûr !
""",
    ],
    "Spanish": [
        """
El Sr. García y la Sra. López llegaron a las 5.30 de la tarde.
¿Quién tiene la llave?
¡Nadie!
La Dra. Ruiz esperó.
""",
        """
Ud. debe pagar 3,5 euros, p. ej. en efectivo.
Véase la pág. 12 y el art. 5 del cap. 2.
Es muy caro.
¿No le parece?
""",
        """
Vive en EE. UU. desde 1990.
Escribió a ayuda@ejemplo.es ayer.
«No vengo», dijo.
Luego colgó…
¡Qué lástima!
""",
        """
D. José y Dña. Ana viven en la Avda. Libertad n. 5.
Tienen tres hijos.
El mayor se llama J. L. Pérez.
Estudia en Madrid.
""",
        """
La versión 2.0 cuesta aprox. 20 dólares.
¿Vale la pena?
Sí.
Cómprela en www.ejemplo.es hoy.
""",
    ],
    "Italian": [
        """
Il sig. Rossi e il dott. Bianchi arrivarono alle 9.30.
Il prezzo è 3,5 euro, p. es. per un panino.
Chi ha la chiave?
Nessuno!
""",
        """
Vedi pag. 12 e art. 5 del cap. 2.
Ci sono mele, pere, ecc.
Tutto è fresco.
«Vieni qui!» gridò.
Lei non venne.
""",
        """
G. Verdi nacque nel 1813.
Scrivete a info@esempio.it o andate su www.esempio.it.
È gratis.
Davvero?
""",
    ],
    "Russian": [
        """
В 2020 г. он жил на ул. Ленина, д. 5, кв. 3.
Цена составляет 3,5 руб. за штуку.
Кто взял ключ?
Никто!
""",
        """
А. С. Пушкин родился в 1799 году.
Он писал стихи, т. е. поэмы и т. д.
Все его знают.
«Приходи!» — сказала она.
Он не пришёл…
""",
        """
См. стр. 12, рис. 3 и т. п. в книге.
Проф. Иванов и акад. Петров спорили.
Версия 2.0 вышла вчера.
Пишите на help@example.ru сегодня.
""",
        """
Население города 1,5 млн. человек.
Это много?
Да, очень много.
""",
    ],
    "Hindi": [
        """
यह मेरा घर है।
क्या आप आ रहे हैं?
मैं कल ३.५ रुपये दूँगा।
धन्यवाद!
""",
    ],
    "Arabic": [
        """
هذا بيتي.
هل أنت قادم؟
السعر 3.5 دولار.
شكرا!
""",
    ],
    "Korean": [
        """
오늘은 날씨가 좋습니다.
어디에 가세요?
버전 2.0을 설치했습니다.
정말 좋아요!
""",
    ],
}
WITHOUT_SPACES = {
    "Chinese": [
        """
今天天气很好。
我们下午三点去公园吧!
你想去吗?
价格是3.5元。
太便宜了！
""",
        """
“你来了吗？”她问。
他说：“我不来了。”
门关上了。
《红楼梦》是一本好书。
你读过吗？
""",
        """
请写信到help@example.com，或访问www.example.com。
版本2.1.3已经发布……请更新。
（谢谢您的帮助。）
再见！！
王先生走了。
""",
        """
他等了很久……没有人来。
为什么？
因为下雨了。
第一章到此结束。
""",
    ],
    "Japanese": [
        """
今日は天気がいいです。
公園に行きませんか？
「行きましょう。」と彼は言った。
値段は3.5ドルです。
とても安い！
""",
        """
田中さんは「もう帰る！」と叫んだ。
誰も答えなかった。
（雨が降っていた。）
バージョン2.0が出ました。
""",
        """
help@example.comに書いてください。
本当ですか？
はい。
『坊っちゃん』を読みましたか？
""",
    ],
}


def sentences_of(text: str) -> list[str]:
    """The sentences of a text: its lines."""
    return text.strip().split("\n")
